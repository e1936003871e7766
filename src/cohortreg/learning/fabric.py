"""The devices and processes that a training runs on, and the precision that its networks compute in."""

import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from cohortreg.errors import UserError
from cohortreg.learning.devices import Device


class NetworksInHalfPrecision(MixedPrecision):
    """Mixed precision that leaves images as they are: bfloat16 resolves only 1/256 of an intensity or a coordinate.

    What gains from half precision, convolutions and products of matrices, PyTorch converts on its own.
    """

    def convert_input(self, data: Any) -> Any:
        """The inputs of a module, as they are."""
        return data


def make_fabric(accelerator: str, precision: str, devices: int = 1, nodes: int = 1) -> Fabric:
    """The devices of a command, in Lightning Fabric's terms; in mixed precision images and maps stay float32.

    Args:
        devices: On each node. More than one need a process each, which torchrun has started.

    Raises:
        UserError: The devices or the processes are not there.
    """
    together = devices * nodes > 1
    if together and "TORCHELASTIC_RUN_ID" not in os.environ:
        raise UserError(
            f"training.devices: {devices} on {nodes} nodes need torchrun, which starts a process for each"
        )
    options: dict[str, Any] = {"accelerator": accelerator, "devices": devices, "num_nodes": nodes}
    options["strategy"] = "ddp" if together else "auto"
    # Named, or Lightning would take a command in a job of Slurm for one of several that srun started.
    started_by = TorchElasticEnvironment() if together else LightningEnvironment()
    device = Device(accelerator, precision)
    there = torch.cuda.device_count() if device.device.type == "cuda" else devices
    if devices > there:
        raise UserError(f"training.devices: {devices}, but this machine has {there}")
    fabric = Fabric(**options | {"precision": device.precision}, plugins=[started_by])
    # Fabric may choose another precision than asked for: bfloat16 on processors, which have no float16.
    mixed = fabric.strategy.precision
    if isinstance(mixed, MixedPrecision):
        # Its precision is one of the mixed ones, of which the stubs forget.
        plugin = NetworksInHalfPrecision(mixed.precision, mixed.device, mixed.scaler)  # type: ignore[arg-type]
        fabric = Fabric(**options, plugins=[plugin, started_by])
    if together:
        fabric.launch()
    return fabric
