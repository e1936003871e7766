"""What each tool makes of its own field, and what we make of it: the same warped image, to interpolation error.

One real, asymmetric image in anisotropic, oblique voxels, warped as a whole by a map that has an affine and a smooth
part.
"""

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from cohortreg.errors import UserError
from cohortreg.images.io import Image, write_image
from cohortreg.images.itk import to_sitk
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.niftyreg import read_niftyreg
from cohortreg.maps.transforms import (
    displacement_in_unit,
    field_of,
    from_sitk,
    read_transform,
    to_physical,
    voxels_to_unit,
)
from cohortreg.methods.programs import niftyreg, run


@pytest.fixture(scope="module")
def image(hippocampus) -> Image:
    """A hippocampus whose axes are turned about two axes of space, the second from left to right; 1.3, 0.7, 2 mm."""
    path = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[0]
    array = nibabel.load(path).get_fdata()[2:, 5:, 3:]
    c, s = np.cos(0.4), np.sin(0.4)
    about_k = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    about_i = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = about_i @ about_k @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ np.diag([1.3, 0.7, 2])
    affine[:3, 3] = [-41, 17, 60]
    return Image((array / array.max()).astype(np.float32), affine)


@pytest.fixture(scope="module")
def displacement(image) -> torch.Tensor:
    """In unit coordinates, [1, 3, *grid]: a shear and shift, and waves of other lengths along each axis."""
    x = identity_map(image.shape, dtype=torch.float64)
    shear = torch.tensor([[0.03, 0.05, 0.0], [0.0, -0.04, 0.02], [0.06, 0.0, 0.02]], dtype=torch.float64)
    phases = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).reshape(1, 3, 1, 1, 1)
    waves = 0.03 * torch.sin(5 * x + phases) * torch.cos(4 * x.roll(1, 1))
    return (torch.einsum("ij,bjxyz->bixyz", shear, x) + waves - 0.02).float()


def ours(image: Image, displacement: torch.Tensor) -> np.ndarray:
    phi = identity_map(image.shape) + displacement
    return interpolate(torch.from_numpy(image.array)[None, None], phi)[0, 0].numpy()


def inside(displacement: torch.Tensor, margin: float = 1e-3) -> np.ndarray:
    """Where the map stays within the image, beyond which each tool has its own idea of an image."""
    phi = identity_map(displacement.shape[2:]) + displacement
    return ((phi > margin) & (phi < 1 - margin)).all(1)[0].numpy()


def assert_same(theirs: np.ndarray, image: Image, displacement: torch.Tensor):
    """Equal inside, and a test at all: the image was moved."""
    where = inside(displacement)
    assert where.mean() > 0.5
    assert np.abs(image.array - theirs)[where].mean() > 0.02
    np.testing.assert_allclose(ours(image, displacement)[where], theirs[where], atol=2e-3)


def test_simpleitk_displacement_field(image, displacement):
    grid = image.grid
    transform = to_physical(displacement, grid, grid)
    field = sitk.Cast(to_sitk(transform.displacement, grid), sitk.sitkVectorFloat64)
    moving = to_sitk(image.array, grid)
    warped = sitk.Resample(
        moving, moving, sitk.DisplacementFieldTransform(sitk.Image(field)), sitk.sitkLinear
    )
    back = displacement_in_unit(from_sitk(field), grid)
    torch.testing.assert_close(back, displacement, atol=1e-6, rtol=0)
    assert_same(sitk.GetArrayFromImage(warped).T, image, back)


def test_simpleitk_affine(image):
    grid = image.grid
    moving = to_sitk(image.array, grid)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(moving.TransformContinuousIndexToPhysicalPoint([10.0, 20.0, 15.0]))
    affine.SetMatrix([1.05, 0.1, 0, -0.08, 0.97, 0.05, 0.02, -0.1, 1.1])
    affine.SetTranslation([1.0, -2.0, 3.0])
    warped = sitk.Resample(moving, moving, affine, sitk.sitkLinear)
    assert_same(sitk.GetArrayFromImage(warped).T, image, displacement_in_unit(field_of(affine, grid), grid))


@pytest.mark.parametrize("inverted", [False, True])
def test_ants_composed_transforms(image, displacement, tmp_path, inverted):
    """An affine file and a warp, forward and back: the affine map comes last, or inverted and first."""
    ants = pytest.importorskip("ants", reason="ANTsPy is not installed; make baselines installs it")
    grid = image.grid
    origin, spacing, direction = grid.origin.tolist(), grid.spacing.tolist(), grid.direction
    moving = ants.from_numpy(image.array, origin, spacing, direction=direction)
    warp, affine = tmp_path / "warp.nii.gz", tmp_path / "affine.mat"
    sitk.WriteImage(to_sitk(to_physical(displacement, grid, grid).displacement, grid), str(warp))
    made = ants.new_ants_transform(
        dimension=3,
        transform_type="AffineTransform",
        parameters=[1.02, 0.05, 0, -0.04, 0.98, 0.02, 0.01, -0.05, 1.03, 0.5, -1, 0.7],
        fixed_parameters=origin,
    )
    ants.write_transform(made, str(affine))
    files = [str(affine), str(warp)] if inverted else [str(warp), str(affine)]
    inverse = [True, False] if inverted else [False, False]
    warped = ants.apply_transforms(moving, moving, files, whichtoinvert=inverse).numpy()
    whole = ants.apply_transforms(moving, moving, files, whichtoinvert=inverse, compose=str(tmp_path / "all"))
    assert_same(warped, image, displacement_in_unit(read_transform(whole), grid))


@pytest.mark.skipif(niftyreg(None) is None, reason="NiftyReg is not installed; make baselines installs it")
@pytest.mark.parametrize("kind", ["-def", "-disp"])
def test_niftyreg_splines(image, tmp_path, kind):
    """Splines that reg_f3d found, as a field of points and as one of displacements."""
    programs = niftyreg(None)
    write_image(tmp_path / "moving.nii", image)
    turned = Image(np.ascontiguousarray(np.roll(image.array, (2, 3, -2), (0, 1, 2))), image.affine)
    write_image(tmp_path / "fixed.nii", turned)
    pair = ["-ref", "fixed.nii", "-flo", "moving.nii"]
    f3d = ["-ln", "1", "-maxit", "5", "-sx", "-6", "-cpp", "spline.nii", "-res", "ignored.nii", "-omp", "1"]
    run([programs["reg_f3d"], *pair, *f3d], tmp_path, 60)
    resample = ["-trans", "spline.nii", "-res", "warped.nii", "-inter", "1"]
    run([programs["reg_resample"], *pair, *resample], tmp_path, 60)
    run([programs["reg_transform"], "-ref", "fixed.nii", kind, "spline.nii", "field.nii"], tmp_path, 60)
    found = displacement_in_unit(read_niftyreg(tmp_path / "field.nii"), image.grid)
    assert_same(nibabel.load(tmp_path / "warped.nii").get_fdata(), image, found)
    with pytest.raises(UserError, match=r"spline\.nii: not a dense NiftyReg field"):
        read_niftyreg(tmp_path / "spline.nii")


def test_voxelmorph_voxels(image, displacement):
    modules = pytest.importorskip(
        "voxelmorph.nn.modules", reason="voxelmorph is not installed; make baselines installs it"
    )
    last = torch.tensor(image.shape).reshape(1, 3, 1, 1, 1) - 1.0
    voxels = displacement * last
    moving = torch.from_numpy(image.array)[None, None]
    warped = modules.SpatialTransformer()(moving, voxels)[0, 0].numpy()
    torch.testing.assert_close(voxels_to_unit(voxels), displacement)
    assert_same(warped, image, voxels_to_unit(voxels))
