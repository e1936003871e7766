"""The registration of ICON's networks: what it computes in, and what a stage starts from."""

import pytest
import torch
from typed import build_registration

from cohortreg.icon.stages import inherit
from cohortreg.icon.steps import DisplacementNetwork
from cohortreg.learning.devices import Device
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
    return for_registration(registration, Device("cpu", precision))


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


@pytest.mark.parametrize("network", [{"architecture": "mlp", "hidden": [4, 4]}, NETWORK | {"bottleneck": 2}])
def test_a_stage_of_another_resolution_starts_from_what_fits(network):
    finer, coarse = build_registration(network, STAGES, (8, 8, 8))
    inherit(finer, coarse)
    maps = finer(*torch.rand(2, 1, 1, 8, 8, 8)).on_grid((8, 8, 8))
    torch.testing.assert_close(maps, identity_map((8, 8, 8)))
