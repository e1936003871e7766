"""The device that a training or a registration runs on, and the precision that its networks compute in."""

import ctypes
import platform
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision


class NetworksInHalfPrecision(MixedPrecision):
    """Mixed precision that leaves images as they are: bfloat16 resolves only 1/256 of an intensity or a coordinate.

    What gains from half precision, convolutions and products of matrices, PyTorch converts on its own.
    """

    def convert_input(self, data: Any) -> Any:
        """The inputs of a module, as they are."""
        return data


# What glibc's malloc.h calls them.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def use_processor(threads: int) -> None:
    """Let PyTorch compute on that many threads of this process, and keep it from two things that make it slow.

    Numbers below 1e-38 become zero: Adam's averages of a parameter that sees no gradient any more fall there, and
    processors are up to a hundred times slower on such numbers. Memory that is freed stays with the process: glibc
    maps each large tensor anew otherwise, and the system clears its pages first, which took up to half of the time.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if platform.libc_ver()[0] == "glibc":
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_M_MMAP_MAX, 0)
        allocator.mallopt(_M_TRIM_THRESHOLD, -1)


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """One device, in Lightning Fabric's terms; where its precision is mixed, images and maps stay float32."""
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    # Fabric may choose another precision than asked for: bfloat16 on processors, which have no float16.
    mixed = fabric.strategy.precision
    if not isinstance(mixed, MixedPrecision):
        return fabric
    plugin = NetworksInHalfPrecision(mixed.precision, mixed.device, mixed.scaler)
    return Fabric(accelerator=accelerator, devices=1, plugins=[plugin])
