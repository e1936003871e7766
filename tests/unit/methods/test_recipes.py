"""Methods that learn beside ICON: the maps of their networks by hand, and their training on real images."""

import math

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
import typed
from lightning_fabric import Fabric
from scipy.ndimage import gaussian_filter, zoom

from cohortreg.config import AvsmSettings
from cohortreg.files import write_json
from cohortreg.images.io import Image
from cohortreg.jobs.register import open_row
from cohortreg.jobs.train import stage_objective, train_stage
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.learning.data import TrainingImages, pack
from cohortreg.learning.devices import Device
from cohortreg.learning.fabric import make_fabric
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.methods.avsm import AffineSteps, Avsm, VelocitySteps
from cohortreg.methods.registry import recipe

GRID = (16, 16, 16)
STAGE = {
    "steps": 2,
    "training_steps": 40,
    "batch_size": 2,
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "weight": 1,
    "weight_increment": 0,
    "fold_threshold": 0,
}
LAST = STAGE | {"steps": 1, "training_steps": 150, "learning_rate": 3e-3, "weight": 0.02}
MODELS = {
    "avsm": {
        "method": "avsm",
        "settings": {
            "affine_channels": [8, 16],
            "down": [2, 8, 16, 32],
            "up": [8, 16],
            "flow_steps": 4,
            "symmetry": 1,  # at so few steps the default's 500 would keep the maps where they start
        },
        "stages": [STAGE, STAGE | {"training_steps": 80}],
    },
    "voxelmorph": {
        "method": "voxelmorph",
        "settings": {"features": [8, 8]},
        "stages": [LAST],
    },
    "voxelmorph-affine": {
        "method": "voxelmorph",
        "settings": {"affine": True, "affine_channels": [8, 16], "features": [8, 8]},
        "stages": [STAGE, LAST],
    },
}
TRAINING = {"precision": "32-true", "accelerator": "cpu", "checkpoint_every": 20}


def cpu(precision: str = "32-true") -> Fabric:
    return make_fabric("cpu", precision)


@pytest.fixture(scope="module")
def arrays(hippocampus) -> list[np.ndarray]:
    """Six real hippocampi on a small grid."""
    found = []
    for path in sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:6]:
        array = gaussian_filter(nibabel.load(path).get_fdata(), 1)
        array = zoom(array, np.array(GRID) / array.shape, order=1)
        found.append(((array - array.min()) / np.ptp(array)).astype(np.float32))
    return found


@pytest.fixture
def layout(arrays, tmp_path) -> Layout:
    layout = Layout(tmp_path)
    pack(
        [str(number) for number in range(len(arrays))],
        lambda name: (arrays[int(name)], [[0, size] for size in GRID]),
        layout.packed("set"),
        layout.packed_index("set"),
    )
    for name in MODELS:
        write_json(layout.model_training(name), {"training_set": "set", "images": len(arrays), "start": None})
    return layout


def train(layout: Layout, name: str, model: dict, precision: str = "32-true") -> None:
    method = recipe(model["method"])
    for stage in range(1, len(model["stages"]) + 1):
        settings = typed.training(TRAINING | {"precision": precision})
        train_stage(method, layout, name, stage, typed.model(model), settings, 1, cpu(precision))


def shortened(model: dict) -> dict:
    """The model, trained for five steps in each stage."""
    return model | {"stages": [stage | {"training_steps": 5} for stage in model["stages"]]}


@pytest.mark.parametrize("name", MODELS)
def test_it_starts_at_the_identity_and_learns_to_register(layout, arrays, name):
    pytest.importorskip("voxelmorph" if "voxelmorph" in name else "torch")
    model = MODELS[name]
    method = recipe(model["method"])
    start, _ = method.build(typed.model(model).up_to(1), GRID)
    pair = torch.from_numpy(np.stack(arrays[:2]))[:, None]
    with torch.no_grad():
        assert (start(pair, pair.flip(0)).on_grid(GRID) - identity_map(GRID)).abs().max() < 1e-4
    train(layout, name, model)
    opened = open_row(name, layout, 1, 1, Device("cpu", "32-true"))
    histories = [pd.read_csv(layout.history(name, stage)) for stage in range(1, len(model["stages"]) + 1)]
    learnt = [
        history["similarity"].iloc[-30:].mean() / history["similarity"].iloc[:10].mean()
        for history in histories
    ]
    assert max(learnt) < 0.9
    there, back = (opened(*(Image(arrays[n], np.eye(4)) for n in pair)) for pair in [(0, 1), (1, 0)])
    assert there.forward.abs().max() > 0.01
    torch.testing.assert_close(there.inverse, back.forward, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_it_learns_from_2d_images(name, layout, tmp_path):
    pytest.importorskip("voxelmorph" if "voxelmorph" in name else "torch")
    shapes = [np.tri(16, 12, k=shift, dtype=np.float32) for shift in (-2, 0, 2)]
    pack(
        ["0", "1", "2"],
        lambda image_id: (shapes[int(image_id)], [[0, 16], [0, 12]]),
        layout.packed("set"),
        layout.packed_index("set"),
    )
    train(layout, name, shortened(MODELS[name]))
    affine = np.diag([-1.0, -1, 1])
    registration = open_row(name, layout, 1, 1, Device("cpu", "32-true"))(
        *(Image(shape, affine) for shape in shapes[:2])
    )
    assert registration.forward.shape == registration.inverse.shape == (1, 2, 16, 12)
    assert registration.forward.abs().max() > 0


def test_a_later_stage_leaves_the_affine_network_as_it_was(layout):
    train(layout, "avsm", shortened(MODELS["avsm"]))
    first, _ = weights.load(layout.weights("avsm", 1))
    second, _ = weights.load(layout.weights("avsm", 2))
    assert len(second) > len(first)
    for name, tensor in first.items():
        assert torch.equal(second[f"first.{name}"], tensor), name


def test_training_in_mixed_precision_stays_finite(layout):
    train(layout, "avsm", shortened(MODELS["avsm"]), "bf16-mixed")
    tensors, _ = weights.load(layout.weights("avsm", 2))
    assert all(tensor.isfinite().all() for tensor in tensors.values())


class Constant(torch.nn.Module):
    """Predicts the same affine step for whatever it sees."""

    dim = 3

    def __init__(self, step: torch.Tensor):
        super().__init__()
        self.step = step

    def forward(self, moving, fixed):
        return self.step.expand(len(moving), -1, -1)


def test_affine_steps_compose_about_the_centre():
    """Twice x -> c + 0.9 (x - c) + b is x -> c + 0.81 (x - c) + 1.9 b."""
    step = torch.cat([-0.1 * torch.eye(3), torch.tensor([[0.01], [0.0], [0.02]])], 1)
    phi = AffineSteps(Constant(step), 2)(torch.zeros(1, 1, *GRID), torch.zeros(1, 1, *GRID))
    x = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1)
    expected = 0.5 + 0.81 * (x - 0.5) + 1.9 * step[:, 3:]
    torch.testing.assert_close(phi(x), expected)


def test_the_departure_from_the_identity_costs_less_from_step_to_step(layout):
    model = typed.model(MODELS["avsm"]).up_to(1)
    images = TrainingImages(layout.packed("set"), layout.packed_index("set"), torch.device("cpu"))
    objective = stage_objective(Avsm, layout, "avsm", model, GRID, 1).train()
    torch.nn.init.normal_(objective.registration.network.last.bias, std=0.05)
    rows = np.array([0, 1]), np.array([2, 3])
    start, half, end = (
        objective(images.pairs(*rows, torch.Generator().manual_seed(0), done)).inverse_consistency.item()
        for done in (0, 0.5, 1)
    )
    # What does not fall is the inverse consistency of the same maps.
    assert (half - end) / (start - end) == pytest.approx((math.exp(-2.5) - math.exp(-5)) / (1 - math.exp(-5)))


def test_the_energy_of_the_steps_adds_up():
    settings = AvsmSettings(down=[2, 4, 8, 8], up=[4, 8], flow_steps=2)
    steps = VelocitySteps(GRID, settings, 2).eval()
    moving, fixed = torch.rand(2, 1, 1, *GRID, generator=torch.Generator().manual_seed(0))
    assert steps.with_energy(moving, fixed)[1] == 0
    torch.nn.init.normal_(steps.network.last.weight, std=0.02)
    _, both = steps.with_energy(moving, fixed)
    steps.steps = 1
    phi, first = steps.with_energy(moving, fixed)
    _, second = steps.with_energy(interpolate(moving, phi.on_grid(GRID)), fixed)
    assert first > 0 and second > 0
    torch.testing.assert_close(both, first + second)


def test_voxelmorphs_displacement_is_in_voxels_as_the_packages_own_warping_takes_it(arrays):
    modules = pytest.importorskip("voxelmorph.nn.modules")
    from cohortreg.methods.voxelmorph import VoxelMorphStep

    step = VoxelMorphStep(3, [4, 4], 5)
    torch.manual_seed(0)
    torch.nn.init.normal_(step.model.flow_layer.conv0.weight, std=3)
    moving, fixed = (torch.from_numpy(array)[None, None] for array in arrays[:2])
    with torch.no_grad():
        phi = step(moving, fixed)
        theirs = modules.SpatialTransformer()(moving, step.model(moving, fixed))
        ours = interpolate(moving, phi.on_grid(GRID))
    assert phi.displacement.abs().max() > 0.5 / 15
    inside = ((phi.on_grid(GRID) > 0) & (phi.on_grid(GRID) < 1)).all(1, keepdim=True)
    torch.testing.assert_close(ours[inside], theirs[inside], atol=5e-3, rtol=0)
