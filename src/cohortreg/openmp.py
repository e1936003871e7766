"""How OpenMP's threads wait for one another, which is read from the environment when PyTorch is loaded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def sleeping() -> dict[str, str]:
    """Variables that let threads sleep while they wait, after a short spin; none where the environment says how.

    As OpenMP comes, they spin. Where other work wants the core that the last one runs on, the others then take it away:
    a pair takes twenty times as long. The short spin spares most of the sleep on an idle machine, see
    `benchmarks/threads.py`.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}


@contextmanager
def loading() -> Iterator[None]:
    """Set these variables while a module is imported, so that the user's other programs do not inherit them.

    Where the user's program has loaded PyTorch before, its threads stay as they are.
    """
    variables = {} if "torch" in sys.modules else sleeping()
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
