"""Compilation of loops over voxels by Numba.

Arrays handed to a loop share no memory. Its types are inferred, so that loops are written without annotations.
"""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core.compiler import Compiler

#: Operations as they are written, in their order.
EXACT: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
#: Sums may be reordered, which is what lets a processor add several numbers at once.
REORDERED = EXACT | {"fastmath": True}


class _Apart(Compiler):
    """Numba's compiler, told that arrays handed to a loop share no memory: few loops are vectorised otherwise."""

    def define_pipelines(self) -> Any:
        """As Numba defines them."""
        if "noalias" in type(self.state.flags).options:  # not public, so it may go; loops are then slower
            self.state.flags.noalias = True
        return super().define_pipelines()


def compiled(options: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that compiles a loop when it is first called, and caches it on disk where that is writable."""

    def compile_when_called(loop: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, pipeline_class=_Apart, **options)(loop)
        except RuntimeError:  # neither beside the source nor in the user's folder of caches
            return njit(pipeline_class=_Apart, **options)(loop)

    return compile_when_called


def called(options: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for longer ones that loops of the same file call, which become part of each of them.

    As functions of their own they would be compiled once alone and once with a loop, and the process that compiles
    would run the one where those that read its cache run the other, whose last digits differ.
    """
    return njit(pipeline_class=_Apart, forceinline=True, **options)


def inlined(options: dict[str, Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for what the loops of the same file call; Numba's cache does not see changes in another one."""
    return njit(inline="always", **options)
