"""docs/methods.md: its example of a new method works."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from cohortreg.images.io import Image
from cohortreg.jobs.register import open_row
from cohortreg.layout import Layout
from cohortreg.methods.registry import PAIRWISE, Entry

PAGE = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")


def test_the_example_of_a_new_method_works(tmp_path, monkeypatch):
    """Two balls whose centres of mass are known."""
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = ModuleType("cohortreg.methods.centre")
    exec(compile(code[0], "docs/methods.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    entry = eval(f"{{{code[1]}}}", {"Entry": Entry})
    monkeypatch.setitem(PAIRWISE, "centre", entry["centre"])
    method = open_row("centre", Layout(tmp_path), 1, 1)
    i, j, k = np.indices((20, 21, 22))
    moving, fixed = (
        Image((((i - a) ** 2 + (j - 10) ** 2 + (k - 11) ** 2) < 20).astype(np.float32), np.eye(4))
        for a in (7, 10)
    )
    forward = method(moving, fixed).forward
    torch.testing.assert_close(forward[0, :, 5, 5, 5], torch.tensor([-3 / 19, 0, 0]), atol=1e-5, rtol=0)
