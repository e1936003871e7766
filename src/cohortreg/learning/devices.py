"""The device that a registration runs on, and the precision that its networks compute in."""

import ctypes
import os
import platform
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from cohortreg.errors import UserError

#: In Lightning Fabric's terms.
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")

_Movable = TypeVar("_Movable", nn.Module, torch.Tensor)

# What glibc's malloc.h calls them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def use_processor(threads: int) -> None:
    """Set PyTorch's number of threads, and turn off two things that make it slow.

    Numbers below 1e-38 become zero: Adam's averages of a parameter that sees no gradient any more fall there, and
    processors are up to a hundred times slower on such numbers. Memory that is freed stays with the process: glibc
    maps each large tensor anew otherwise, and the system clears its pages first, which took up to half of the time.
    """
    # More than there are cores gain nothing, and where the system has no room for them, PyTorch crashes.
    torch.set_num_threads(min(threads, os.cpu_count() or 1))
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_MAX, 0)
        allocator.mallopt(_M_TRIM_THRESHOLD, -1)


def precision_on(device: torch.device, precision: str) -> str:
    """The precision that networks compute in there: the one asked for; of `auto`, half on a GPU that computes in it.

    That is bfloat16 on GPUs of compute capability 8.0. On processors `auto` is single precision: a cluster has nodes of
    several kinds, and the pairs of one table would be registered in several precisions.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if device.type == "cuda" and _computes_in_bfloat16(device) else "32-true"


def _computes_in_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    if not hasattr(torch.cpu, "get_capabilities"):  # before PyTorch 2.11
        return torch.cpu._is_avx512_bf16_supported()
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def slow_precision(device: torch.device, precision: str) -> str:
    """A warning where half precision was requested and the processor has no instructions for it; else empty."""
    if device.type != "cpu" or precision in ("32-true", "auto") or _computes_in_bfloat16(device):
        return ""
    return (
        f"training.precision: {precision}, but this processor has no instructions for bfloat16: a convolution in it "
        "was measured to take 130 times as long as in float32 (74 s against 0.56 s); auto takes float32 here."
    )


class Device:
    """Where and how precisely a registration computes: as a training by Lightning Fabric would, in its terms.

    It loads in half the time of Fabric, which counts where a job registers few pairs. `precision` is what
    `precision_on` makes of the one asked for.

    Raises:
        UserError: There is no such accelerator, or no such precision.
    """

    def __init__(self, accelerator: str, precision: str):
        if precision not in PRECISIONS:
            raise UserError(f"the precision is {precision!r}; give one of {', '.join(PRECISIONS)}.")
        accelerators = [kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()]
        candidates = {"auto": [*accelerators, "cpu"], "gpu": accelerators}.get(accelerator, [accelerator])
        if not candidates or candidates[0] not in (*accelerators, "cpu"):
            raise UserError(
                f"the accelerator is {accelerator!r}, but PyTorch finds none here; give cpu, cuda or mps, or auto, "
                "which takes what is available."
            )
        self.device = torch.device(candidates[0])
        self.precision = precision_on(self.device, precision)

    def to_device(self, module: _Movable) -> _Movable:
        """Move a module or a tensor to the device."""
        return module.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which networks compute in half precision, if they should. Processors have no float16."""
        if self.precision == "32-true":
            return nullcontext()
        on_accelerator = self.device.type != "cpu" and self.precision == "16-mixed"
        return torch.autocast(self.device.type, torch.float16 if on_accelerator else torch.bfloat16)
