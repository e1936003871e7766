"""The device that a training or a registration runs on, and the precision that its networks compute in."""

from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision


class NetworksInHalfPrecision(MixedPrecision):
    """Mixed precision that leaves images as they are: bfloat16 resolves only 1/256 of an intensity or a coordinate.

    What gains from half precision, convolutions and products of matrices, PyTorch converts on its own.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def make_fabric(accelerator: str, precision: str) -> Fabric:
    """One device, in Lightning Fabric's terms; images and maps are float32 in every precision."""
    fabric = Fabric(accelerator=accelerator, devices=1)
    if precision == "32-true":
        return fabric
    plugin = NetworksInHalfPrecision(precision, fabric.device.type)
    return Fabric(accelerator=accelerator, devices=1, plugins=[plugin])
