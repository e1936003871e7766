"""Each method on real hippocampi: it registers, its inverse inverts, it never depends on what came before."""

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from cohortreg.images.io import Image
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.methods.affine import Affine
from cohortreg.methods.identity import Identity


@pytest.fixture(scope="module")
def real(hippocampus) -> Image:
    path = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[0]
    array = gaussian_filter(nibabel.load(path).get_fdata(), 1)
    array = (array - array.min()) / (array.max() - array.min())
    return Image(array.astype(np.float32), np.diag([1.5, 0.8, 1.0, 1.0]))


def moved(image: Image) -> tuple[Image, np.ndarray]:
    """The image turned, scaled and shifted by a known affine map from its voxels to the given image's."""
    centre = (np.array(image.shape) - 1) / 2
    c, s = np.cos(0.15), np.sin(0.15)
    linear = np.array([[c, -s, 0.0], [s, c, 0.05], [0, 0, 1.08]])
    offset = centre - linear @ centre + [1.5, -2.0, 1.0]
    return Image(affine_transform(image.array, linear, offset, order=1, mode="nearest"), image.affine), (
        linear,
        offset,
    )


def test_identity_leaves_every_voxel_where_it_is(real):
    registration = Identity({}, 1, 1)(real, real)
    assert registration.forward.shape == (1, 3, *real.shape)
    assert not registration.forward.any() and not registration.inverse.any()


def test_affine_finds_a_known_map_in_anisotropic_voxels(real):
    """fixed(x) = moving(A x + b): the map to find is known at every voxel."""
    fixed, (linear, offset) = moved(real)
    registration = Affine(seed=1)(real, fixed)
    size = torch.tensor(real.shape).reshape(1, 3, 1, 1, 1) - 1.0
    phi = (identity_map(real.shape) + registration.forward) * size
    voxels = identity_map(real.shape)[0].double().numpy() * size[0].numpy()
    expected = np.einsum("ij,jxyz->ixyz", linear, voxels) + offset[:, None, None, None]
    error = np.linalg.norm(phi[0].numpy() - expected, axis=0)
    assert error.mean() < 0.35, "voxels"


def test_affine_inverse_leads_back(real):
    fixed, _ = moved(real)
    registration = Affine(seed=1)(real, fixed)
    forward, inverse = DisplacementField(registration.forward), DisplacementField(registration.inverse)
    inside = 0.35 + 0.3 * torch.rand(1, 3, 500, 1, 1)
    torch.testing.assert_close(forward(inverse(inside)), inside, atol=2e-3, rtol=0)


def test_affine_is_the_same_twice_and_better_than_nothing(real):
    fixed, _ = moved(real)
    first, *others = (Affine(seed=1)(real, fixed).forward for _ in range(4))
    assert all(torch.equal(first, other) for other in others)
    moving = torch.from_numpy(real.array)[None, None]
    warped = interpolate(moving, identity_map(real.shape) + first)[0, 0].numpy()
    before, after = (np.mean((image - fixed.array) ** 2) for image in (real.array, warped))
    assert after < 0.2 * before
