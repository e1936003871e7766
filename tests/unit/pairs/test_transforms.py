"""Warping, composition and inversion in Python, as SimpleITK does them."""

import numpy as np
import pytest
import SimpleITK as sitk

import cohortreg
from cohortreg.errors import UserError

#: Oblique and left-handed, of other voxels along each axis; and two others, so that no two images share a grid.
TURNED = np.array([[-0.8, 0.9, 0, 12], [0.6, 1.2, 0, -9], [0, 0, 2.0, 4], [0, 0, 0, 1]])
STRAIGHT = np.array([[0, 0, 1.1, 2], [-1.3, 0, 0, 8], [0, 0.7, 0, 3], [0, 0, 0, 1]])
PLAIN = np.diag([1.0, 1.2, 1.5, 1.0])


def image(affine, shape, seed):
    return np.random.default_rng(seed).random(shape), affine


A, B, C = image(TURNED, (14, 12, 10), 0), image(STRAIGHT, (16, 18, 12), 1), image(PLAIN, (15, 13, 11), 2)


def affine(seed: int) -> sitk.AffineTransform:
    random = np.random.default_rng(seed)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((np.eye(3) + random.normal(0, 0.05, (3, 3))).flatten().tolist())
    transform.SetTranslation(random.normal(0, 1, 3).tolist())
    return transform


def bend(like) -> sitk.DisplacementFieldTransform:
    """A smooth field on an image's voxels, to its borders."""
    grid = cohortreg.warp(like, sitk.Transform(3, sitk.sitkIdentity), like).to_sitk()
    field = sitk.TransformToDisplacementField(affine(7), sitk.sitkVectorFloat64, grid.GetSize())
    wave = np.sin(np.indices(field.GetSize()[::-1]) / 4).transpose(1, 2, 3, 0)
    bent = sitk.GetImageFromArray(wave, isVector=True)
    bent.CopyInformation(grid)
    return sitk.DisplacementFieldTransform(bent)


def points(like, within: float = 0.25) -> list[list[float]]:
    array, matrix = like
    shares = np.random.default_rng(3).uniform(within, 1 - within, (40, 3))
    index = shares * (np.array(array.shape) - 1)
    return (index @ matrix[:3, :3].T * [-1, -1, 1] + matrix[:3, 3] * [-1, -1, 1]).tolist()


@pytest.mark.parametrize("transform", [affine(0), bend(B)], ids=["affine", "field"])
@pytest.mark.parametrize("label", [False, True])
def test_an_image_is_warped_as_simpleitk_warps_it(transform, label):
    moving = ((A[0] * 9).round().astype(np.int16), A[1]) if label else A
    warped = cohortreg.warp(moving, transform, B, label=label)
    same = cohortreg.warp(moving, sitk.Transform(3, sitk.sitkIdentity), moving, label=label).to_sitk()
    like = cohortreg.warp(B, sitk.Transform(3, sitk.sitkIdentity), B).to_sitk()
    theirs = sitk.Resample(same, like, transform, sitk.sitkNearestNeighbor if label else sitk.sitkLinear)
    np.testing.assert_allclose(warped.array, sitk.GetArrayFromImage(theirs).T, atol=1e-5)
    np.testing.assert_allclose(warped.affine, B[1], atol=1e-12)
    assert warped.array.any()


def test_what_is_composed_takes_points_through_the_last_one_first(tmp_path):
    steps = [affine(1), bend(B), affine(2), affine(3)]
    composed = cohortreg.compose(*steps)
    sitk.WriteTransform(composed, str(tmp_path / "t.h5"))
    for transform in (composed, sitk.ReadTransform(str(tmp_path / "t.h5"))):
        for point in points(B):
            expected = point
            for step in reversed(steps):
                expected = step.TransformPoint(expected)
            np.testing.assert_allclose(transform.TransformPoint(point), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["t.tfm", "t.mat", "t.h5"])
def test_affine_transforms_are_twelve_numbers_composed_and_inverted(name, tmp_path):
    both = cohortreg.compose(affine(1), affine(2))
    back = cohortreg.invert(both)
    sitk.WriteTransform(back, str(tmp_path / name))
    read = sitk.ReadTransform(str(tmp_path / name))
    assert read.GetName() == "AffineTransform" and len(read.GetParameters()) == 12
    for point in points(A):
        there = affine(1).TransformPoint(affine(2).TransformPoint(point))
        np.testing.assert_allclose(read.TransformPoint(there), point, atol=1e-9)


def test_the_inverse_of_a_field_leads_back_at_each_voxel_of_the_moving_image():
    transform = cohortreg.compose(affine(1), bend(B))
    inverse = cohortreg.invert(transform, like=A)
    field = sitk.DisplacementFieldTransform(inverse).GetDisplacementField()
    domain = sitk.DisplacementFieldTransform(bend(B)).GetDisplacementField()
    count = 0
    for index in np.ndindex(*A[0].shape):
        point = field.TransformIndexToPhysicalPoint(index)
        there = inverse.TransformPoint(point)
        place = np.array(domain.TransformPhysicalPointToContinuousIndex(there))
        if ((place > 0) & (place < np.array(B[0].shape) - 1)).all():
            count += 1
            assert np.linalg.norm(np.subtract(transform.TransformPoint(there), point)) < 2e-3
    assert count > 200


def test_of_the_fixed_image_only_its_voxels_places_matter():
    """A template may be empty."""
    for values in (np.zeros(B[0].shape), np.full(B[0].shape, np.nan)):
        warped = cohortreg.warp(A, affine(0), (values, B[1]))
        np.testing.assert_array_equal(warped.array, cohortreg.warp(A, affine(0), B).array)


def test_a_background_of_any_type_of_number():
    far = sitk.TranslationTransform(3, (8.0, 0, 0))
    for background in (np.float32(7), np.int16(7), 7):
        assert (cohortreg.warp(A, far, A, background=background).array == 7).any()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: cohortreg.warp(A, affine(0)), "the transform has no grid of its own; give the fixed image"),
        (lambda: cohortreg.warp(A, affine(0), B, background="x"), "the background is 'x'; give a number"),
        (lambda: cohortreg.warp(A, affine(0), B, label="yes"), "label is 'yes'; give True or False"),
        (lambda: cohortreg.warp(A, affine(0), B, any_image=1), "any_image is 1; give True or False"),
        (
            lambda: cohortreg.warp(A, affine(0), (B[0][0], np.eye(3))),
            "the transform is 3D and the reference 2D",
        ),
        (lambda: cohortreg.warp("", affine(0), B), "the image has an empty path"),
        (lambda: cohortreg.warp(A, affine(0), ""), "the fixed image has an empty path"),
        (
            lambda: cohortreg.warp(A, np.eye(4), B),
            "a transform is a path or one of SimpleITK, not of type ndarray",
        ),
        (lambda: cohortreg.invert(A), "not of type tuple"),
        (lambda: cohortreg.invert(bend(B)), "is a displacement field on the moving image's voxels"),
        (lambda: cohortreg.compose(), "there is nothing to compose"),
        (lambda: cohortreg.compose([affine(0), affine(1)]), "not of type list"),
        (lambda: cohortreg.compose(affine(0), sitk.AffineTransform(2)), "2D and 3D transforms cannot"),
    ],
    ids=range(13),
)
def test_what_cannot_be_done_is_one_sentence(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_a_registered_pair_is_no_transform_but_has_two():
    found = cohortreg.register(A, B, method="identity")
    with pytest.raises(UserError, match="not of type Registered; give its forward or inverse"):
        cohortreg.warp(A, found, B)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = cohortreg.register(A, B, method="identity")
    found.save("~/t.h5", warped="~/w.nii.gz")
    cohortreg.warp("~/w.nii.gz", "~/t.h5", "~/w.nii.gz").save("~/v.nii.gz")
    assert {path.name for path in tmp_path.iterdir()} == {"t.h5", "w.nii.gz", "v.nii.gz"}
    with pytest.raises(UserError, match="is an input"):
        cohortreg.register("~/w.nii.gz", B, method="identity").save("~/w.nii.gz")
