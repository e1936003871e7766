"""The device that a training or a registration runs on, and the precision that its networks compute in."""

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


def use_processor(threads: int) -> None:
    """Compute on that many threads, and take numbers below 1e-38 for zero.

    Adam's averages of a parameter that sees no gradient any more fall there, and processors are up to a hundred times
    slower on such numbers: trainings slowed down as they went on.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """One device, in Lightning Fabric's terms; where its precision is mixed, images and maps stay float32."""
    fabric = Fabric(accelerator=accelerator, devices=1, precision=precision)
    # Fabric may choose another precision than asked for: bfloat16 on processors, which have no float16.
    mixed = fabric.strategy.precision
    if not isinstance(mixed, MixedPrecision):
        return fabric
    plugin = NetworksInHalfPrecision(mixed.precision, mixed.device, mixed.scaler)
    return Fabric(accelerator=accelerator, devices=1, plugins=[plugin])
