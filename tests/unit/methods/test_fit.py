"""The row fit on real hippocampi and known maps: it registers, both ways, and says what it cannot do."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.images.io import Image
from cohortreg.images.preprocess import preprocess
from cohortreg.maps.fields import AffineMap, DisplacementField
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.methods import fit as fit_module
from cohortreg.methods.fit import Fit, Refined, levels
from cohortreg.methods.interface import Registration

DEFAULTS = Fit.Settings()
GRID = (32, 40, 32)


def on_grid(hippocampus: Path, name: str, settings: Preprocess) -> tuple[Image, np.ndarray]:
    """A subject's image on a grid, and its label map there."""
    image, label = (nibabel.load(hippocampus / folder / name) for folder in ("imagesTr", "labelsTr"))
    image = Image(image.get_fdata(dtype=np.float32), image.affine)
    label = Image(np.asarray(label.dataobj).astype(np.uint8), label.affine)
    image, label, record = preprocess(image, label, "", settings)
    return replace(image, field_of_view=record["field_of_view"]), label.array


@pytest.fixture(scope="module")
def hippocampi(hippocampus) -> list[tuple[Image, np.ndarray]]:
    """Two subjects."""
    settings = Preprocess(grid=list(GRID), fit="resample", mirror="none", labels="grid")
    first = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[:2]
    return [on_grid(hippocampus, path.name, settings) for path in first]


def dice(moving: np.ndarray, fixed: np.ndarray, displacement: torch.Tensor) -> float:
    phi = identity_map(fixed.shape) + displacement
    warped = (
        interpolate(torch.from_numpy((moving > 0).astype(np.float32))[None, None], phi)[0, 0].numpy() > 0.5
    )
    return float(2 * (warped & (fixed > 0)).sum() / (warped.sum() + (fixed > 0).sum()))


@pytest.fixture(scope="module")
def registered(hippocampi):
    (moving, _), (fixed, _) = hippocampi
    return Fit(DEFAULTS, 1, 1)(moving, fixed)


def test_an_image_that_lies_far_apart_is_found(hippocampi, registered):
    """Turned by 40 degrees and shifted by up to a fifth of the field: as good as the pair as it lies, both ways."""
    (moving, moving_label), (fixed, fixed_label) = hippocampi
    extent = torch.tensor(
        [(size - 1) * float(step) for size, step in zip(GRID, np.diag(fixed.affine)[:3], strict=True)]
    ).abs()
    cos, sin = np.cos(np.radians(40)), np.sin(np.radians(40))
    linear = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).float() * extent / extent[:, None]
    offset = torch.full((3,), 0.5) - linear @ torch.full((3,), 0.5) + torch.tensor([0.1, -0.2, 0.15])
    there = AffineMap(torch.cat([linear, offset[:, None]], 1)[None])
    turned = interpolate(torch.from_numpy(moving.array)[None, None], there.on_grid(GRID))[0, 0].numpy()
    found = Fit(DEFAULTS, 1, 1)(replace(moving, array=turned, field_of_view=None), fixed)
    onto_moving = there(identity_map(GRID) + found.forward) - identity_map(GRID)
    expected = dice(moving_label, fixed_label, registered.forward)
    assert dice(moving_label, fixed_label, onto_moving) > expected - 0.02
    # What the two maps in turn do to points in the middle of the fixed image.
    points = identity_map([4] * 3) / 3 + 1 / 3
    back = DisplacementField(found.inverse)(DisplacementField(found.forward)(points))
    assert ((back - points) * torch.tensor(GRID)[None, :, None, None, None]).norm(dim=1).mean() < 1


def test_images_that_a_coarse_look_takes_for_far_apart_stay_where_they_lie(hippocampus, monkeypatch):
    """The search says that these two are turned; brought there, the mean Dice of their structures is 0.07 worse."""
    settings = Preprocess(grid=[48, 64, 48], fit="pad", mirror="none", labels="grid")
    moving, fixed = (
        on_grid(hippocampus, f"hippocampus_{number}.nii.gz", settings)[0] for number in (380, 375)
    )
    fit, steps, looks, align = Fit(DEFAULTS, 1, 1), [], [], fit_module.align
    fit.report = lambda: steps.append(1)
    monkeypatch.setattr(fit_module, "align", lambda *images: looks.append(align(*images)) or looks[-1])
    found, searched = fit(moving, fixed), len(steps)
    assert looks[0] is not None
    monkeypatch.setattr(fit_module, "align", lambda *images: None)
    voxels = torch.tensor(fixed.shape).reshape(3, 1, 1, 1) - 1
    # The finest level looks at other points between the voxels; where the search led is far away.
    assert ((found.forward - fit(moving, fixed).forward) * voxels).norm(dim=1).mean() < 0.5
    led = looks[0].on_grid(fixed.shape) - identity_map(fixed.shape)
    assert ((found.forward - led) * voxels).norm(dim=1).mean() > 3
    assert searched == len(steps) - searched  # of two fits, every second step


def test_it_registers_two_subjects_without_a_network_and_without_folds(hippocampi, registered):
    (_, moving_label), (_, fixed_label) = hippocampi
    before = dice(moving_label, fixed_label, torch.zeros_like(registered.forward))
    assert dice(moving_label, fixed_label, registered.forward) > before + 0.02
    assert dice(fixed_label, moving_label, registered.inverse) > before + 0.02
    assert folds(identity_map(GRID) + registered.forward).item() < 10


def test_both_maps_are_inverse_to_each_other(registered):
    there, back = DisplacementField(registered.forward), DisplacementField(registered.inverse)
    inside = 0.25 + 0.5 * torch.rand(1, 3, 2000, 1, 1, generator=torch.Generator().manual_seed(0))
    moved = ((there(inside) - inside) * (torch.tensor(GRID).reshape(1, 3, 1, 1, 1) - 1)).norm(dim=1).mean()
    left = (
        ((there(back(inside)) - inside) * (torch.tensor(GRID).reshape(1, 3, 1, 1, 1) - 1)).norm(dim=1).mean()
    )
    assert moved > 1 and left < 0.3, (moved, left)


def test_the_same_pair_gives_the_same_maps(hippocampi, registered):
    (moving, _), (fixed, _) = hippocampi
    again = Fit(DEFAULTS, 1, 1)(moving, fixed)
    assert torch.equal(again.forward, registered.forward) and torch.equal(again.inverse, registered.inverse)


def test_it_finds_a_known_map_of_a_2d_image(flat):
    assert flat.error(Fit(DEFAULTS, 1, 1)(flat.moving, flat.fixed)) < 1


@pytest.mark.parametrize(("contrast", "similarity"), [(-1, "squared_lncc"), (1, "mse"), (1, "lncc")])
def test_each_similarity_finds_it(flat, contrast, similarity):
    """With the contrast reversed, only the squared correlation does."""
    moving = replace(flat.moving, array=contrast * flat.moving.array)
    found = Fit(Fit.Settings(similarity=similarity), 1, 1)(moving, flat.fixed)
    assert flat.error(found) < 1.5


def test_more_smoothness_deforms_less(hippocampi, registered):
    (moving, _), (fixed, _) = hippocampi
    stiff = Fit(Fit.Settings(smoothness=3.0), 1, 1)(moving, fixed)

    def roughness(displacement):
        return sum(float(displacement.diff(dim=axis).diff(dim=axis).abs().mean()) for axis in (2, 3, 4))

    assert roughness(stiff.forward) < 0.5 * roughness(registered.forward)


def test_levels_follow_the_images():
    """The coarsest still has twelve voxels along its longest axis; steps and widths are multiplied."""
    found = levels((48, 64, 48), 1, 1, 1)
    assert [level.downsample for level in found] == [4, 2, 1]
    assert [level.downsample for level in levels((80, 192, 192), 1, 1, 1)] == [16, 8, 4, 2, 1]
    assert [level.downsample for level in levels((8, 8), 1, 1, 1)] == [1]
    assert [level.downsample for level in levels((160, 384, 384), 1, 1, 1)] == [32, 16, 8, 4, 2]
    doubled = levels((48, 64, 48), 2, 3, 0.01)
    assert [level.deviation for level in doubled] == [2 * level.deviation for level in found]
    assert [level.weight for level in doubled] == [3 * level.weight for level in found]
    assert [level.steps for level in doubled] == [1, 1, 1]


class Found:
    """A method that has found its maps, whatever the images."""

    similarity = ""
    version = "found-1"

    def __init__(self, forward: torch.Tensor, inverse: torch.Tensor | None):
        self.registration = Registration(forward, inverse)

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        return self.registration


def shift(*voxels: float, shape: tuple[int, ...]) -> Found:
    """A shift by a number of voxels along each axis, and back."""
    unit = torch.tensor([by / (size - 1) for by, size in zip(voxels, shape, strict=True)])
    forward = unit.reshape(1, -1, *[1] * len(shape)).repeat(1, 1, *shape)
    return Found(forward, -forward)


@pytest.fixture
def still(monkeypatch):
    """Levels that move next to nothing."""
    monkeypatch.setattr(fit_module, "LEVELS", tuple(replace(level, rate=1e-9) for level in fit_module.LEVELS))


def test_it_starts_where_the_other_method_ended(still):
    """Also where preprocessing padded the images, on each side of each axis by another number of voxels."""
    array = np.random.default_rng(0).random((20, 24, 18), np.float32)
    images = [
        Image(array, np.eye(4), [[3, 18], [1, 24], [0, 13]]),
        Image(array[::-1].copy(), np.eye(4), [[4, 19], [2, 23], [2, 14]]),
    ]
    start = shift(3, -2, 0.5, shape=array.shape)
    found = Refined(start, Fit(DEFAULTS, 1, 1), deforms=False)(*images)
    torch.testing.assert_close(found.forward, start.registration.forward, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.inverse, start.registration.inverse, atol=1e-6, rtol=0)


def test_where_images_were_imaged_each_voxel_starts_from_its_own_displacement(still):
    """A linear field has nothing that half of the resolution would lose."""
    random = np.random.default_rng(0)
    images = [Image(random.random((21, 25), np.float32), np.eye(3), [[4, 17], [0, 21]]) for _ in range(2)]
    start = 0.1 * identity_map((21, 25)).flip(1) - 0.03
    found = Refined(Found(start, -start), Fit(DEFAULTS, 1, 1), deforms=False)(*images)
    inside = np.s_[..., 4:17, 0:21]
    torch.testing.assert_close(found.forward[inside], start[inside], atol=1e-6, rtol=0)
    torch.testing.assert_close(found.inverse[inside], -start[inside], atol=1e-6, rtol=0)


def test_from_near_the_known_map_the_finer_levels_find_it(flat):
    start, fit = shift(3, -2, shape=flat.fixed.shape), Fit(DEFAULTS, 1, 1)
    before, after = (flat.error(method(flat.moving, flat.fixed)) for method in (start, Refined(start, fit)))
    assert after < 0.5 * before


def test_folds_between_voxels_of_the_maps_it_starts_from_are_gone(flat):
    """A sum of Gaussians wider than two voxels cannot undo them; before, all of them stayed."""
    start = Fit(DEFAULTS, 1, 1)(flat.moving, flat.fixed)
    noise = torch.randn(1, 2, *flat.fixed.shape, generator=torch.Generator().manual_seed(0)) / 60
    rough = Found(start.forward + noise, start.inverse - noise)
    assert folds(identity_map(flat.fixed.shape) + rough.registration.forward).item() > 300
    found = Refined(rough, Fit(DEFAULTS, 1, 1))(flat.moving, flat.fixed)
    assert folds(identity_map(flat.fixed.shape) + found.forward).item() == 0
    assert flat.error(found) < flat.error(start) + 0.1


def test_maps_that_lead_astray_are_not_what_it_starts_from(flat):
    astray = shift(-20, 25, shape=flat.fixed.shape)
    from_nothing = flat.error(Fit(DEFAULTS, 1, 1)(flat.moving, flat.fixed))
    assert flat.error(Refined(astray, Fit(DEFAULTS, 1, 1))(flat.moving, flat.fixed)) < from_nothing + 0.1


def test_a_method_of_one_direction_is_nothing_to_start_from(flat):
    start = Found(torch.zeros(1, 2, *flat.fixed.shape), None)
    with pytest.raises(
        UserError, match="fit needs maps in both directions to start from, but the method computes only one"
    ):
        Refined(start, Fit(DEFAULTS, 1, 1))(flat.moving, flat.fixed)


def test_each_step_of_the_refinement_is_reported(flat):
    start, steps = shift(1, 1, shape=flat.fixed.shape), []
    refined = Refined(start, Fit(DEFAULTS, 1, 1))
    refined.report = lambda: steps.append(1)
    refined(flat.moving, flat.fixed)
    assert len(steps) == refined.steps(flat.fixed.shape) == 115


def test_what_it_cannot_register_is_one_sentence(flat):
    broken = flat.moving.array.copy()
    broken[3, 3] = np.nan
    with pytest.raises(UserError, match="an image has NaN or infinite values; preprocess it again"):
        Fit(DEFAULTS, 1, 1)(replace(flat.moving, array=broken), flat.fixed)


@pytest.mark.parametrize(
    "given", [{"steps": 0}, {"steps": 1e9}, {"smoothness": 1e-9}, {"smoothness": 1e9}, {"consistency": 1e38}]
)
def test_settings_beyond_use_are_refused(given):
    with pytest.raises(UserError, match=f"there.{next(iter(given))}: "):
        Fit.Settings.read(given, "there")


@pytest.mark.parametrize(
    "extreme", [{"smoothness": 0.1}, {"smoothness": 10}, {"consistency": 1e3}, {"consistency": 1e-3}]
)
def test_settings_at_the_ends_of_their_ranges_register(flat, extreme):
    found = Fit(Fit.Settings(**extreme, steps=0.2), 1, 1)(flat.moving, flat.fixed)
    assert found.forward.isfinite().all()
