"""Registration with a trained model: what it computes in."""

import pytest
import torch
from lightning_fabric import Fabric

from cohortreg.icon.stages import build_registration
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.maps.grids import identity_map
from cohortreg.methods.icon import for_registration

NETWORK = {"architecture": "unet", "down": [2, 8, 16], "up": [8, 16]}
STAGES = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}]


def registration(grid, precision):
    torch.manual_seed(0)
    registration, _ = build_registration(NETWORK, STAGES, grid)
    for step in registration.modules():
        if isinstance(step, DisplacementNetwork):
            torch.nn.init.normal_(step.network.last.weight, std=0.05)
    return for_registration(registration, Fabric(accelerator="cpu", devices=1, precision=precision))


@pytest.mark.parametrize("grid", [(12, 16, 20), (16, 20)])
def test_networks_in_half_precision_give_the_maps_of_float32(grid):
    moving, fixed = torch.rand(2, 1, 1, *grid, generator=torch.Generator().manual_seed(0))
    maps = {}
    with torch.inference_mode():
        for precision in ("32-true", "bf16-mixed"):
            maps[precision] = registration(grid, precision)(moving, fixed).on_grid(grid)
    voxels = torch.tensor(grid).reshape(1, -1, *[1] * len(grid)) - 1
    moved = ((maps["32-true"] - identity_map(grid)) * voxels).abs().mean()
    apart = ((maps["bf16-mixed"] - maps["32-true"]) * voxels).abs().mean()
    assert maps["bf16-mixed"].dtype == torch.float32
    assert moved > 0.1 and 0 < apart < 0.03 * moved
