"""The device that a training or a registration runs on, and the precision that its networks compute in."""

import ctypes
import platform
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment


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


def make_fabric(accelerator: str, precision: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """The devices of a command, in Lightning Fabric's terms; in mixed precision images and maps stay float32.

    devices: on each node. More than one need a process each, which torchrun has started.
    """
    together = devices * nodes > 1
    options = {
        "accelerator": accelerator,
        "devices": devices,
        "num_nodes": nodes,
        "strategy": "ddp" if together else "auto",
    }
    # Named, or Lightning would take a command in a job of Slurm for one of several that srun started.
    started_by = TorchElasticEnvironment() if together else LightningEnvironment()
    fabric = Fabric(**options, precision=precision, plugins=[started_by])
    # Fabric may choose another precision than asked for: bfloat16 on processors, which have no float16.
    mixed = fabric.strategy.precision
    if isinstance(mixed, MixedPrecision):
        plugin = NetworksInHalfPrecision(mixed.precision, mixed.device, mixed.scaler)
        fabric = Fabric(**options, plugins=[plugin, started_by])
    if together:
        fabric.launch()
    return fabric
