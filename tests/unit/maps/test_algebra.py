"""Composition and inversion against SimpleITK's own, and against what they are by definition."""

import numpy as np
import pytest
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid
from cohortreg.images.itk import to_sitk
from cohortreg.maps.algebra import composed, domain_of, inverted, parts_of
from cohortreg.maps.exchange import Pair, read, write
from cohortreg.maps.matrices import from_matrix, matrix_of

FIXED = Grid((22, 20, 18), np.array([[0, -1.5, 0, 27], [2.0, 0, 0, -23], [0, 0, 1.2, 20], [0, 0, 0, 1]]))
MOVING = Grid((24, 26, 20), np.array([[1.4, 0, 0, -2], [0, 1.6, 0, -22], [0, 0, 1.3, 18], [0, 0, 0, 1]]))
TURN = np.array([[0.95, 0.1, 0, 3], [-0.1, 1.05, 0.05, -2], [0, 0, 0.9, 1], [0, 0, 0, 1]])
MIRROR = np.diag([-1.0, 1, 1, 1])


def waves(strength: float, grid: Grid = FIXED) -> sitk.DisplacementFieldTransform:
    """A smooth field without folds, of so many millimetres."""
    index = np.indices(grid.shape)
    field = np.stack([np.sin(index[(axis + 1) % 3] / 4 + axis) for axis in range(3)]) * strength
    return sitk.DisplacementFieldTransform(to_sitk(field, grid, np.float64))


def points(number: int = 50) -> list[list[float]]:
    """Inside of the fixed image, away from its border."""
    random = np.random.default_rng(0)
    return FIXED.points(random.uniform(4, np.array(FIXED.shape) - 5, (number, 3))).tolist()


def test_the_first_transform_warps_first():
    first, second = from_matrix(TURN), waves(1.5)
    both = composed([first, second])
    for point in points():
        expected = first.TransformPoint(second.TransformPoint(point))
        np.testing.assert_allclose(both.TransformPoint(point), expected, atol=1e-10)


def test_affine_transforms_become_one_and_fields_stay():
    turned = sitk.Euler3DTransform((1, 2, 3), 0.1, 0.2, 0.3, (4, 5, 6))
    one = composed(
        [sitk.CompositeTransform([turned, from_matrix(TURN)]), sitk.TranslationTransform(3, (1, 2, 3))]
    )
    assert isinstance(one, sitk.AffineTransform)
    nested = sitk.CompositeTransform([turned, sitk.CompositeTransform([from_matrix(TURN), waves(1)])])
    several = composed([nested, turned, turned])
    assert [part.GetName() for part in parts_of(several)] == [
        "AffineTransform",
        "DisplacementFieldTransform",
        "AffineTransform",
    ]
    for point in points(5):
        expected = nested.TransformPoint(turned.TransformPoint(turned.TransformPoint(point)))
        np.testing.assert_allclose(several.TransformPoint(point), expected, atol=1e-10)


def test_2d_and_3d_do_not_go_together():
    with pytest.raises(UserError, match="2D and 3D transforms cannot be composed"):
        composed([sitk.AffineTransform(2), sitk.AffineTransform(3)])


def test_the_inverse_of_an_affine_transform_is_exact():
    found = inverted(sitk.CompositeTransform([from_matrix(TURN), from_matrix(MIRROR)]), None)
    np.testing.assert_allclose(matrix_of(found.transform), np.linalg.inv(TURN @ MIRROR), atol=1e-12)
    field = sitk.DisplacementFieldTransform(
        sitk.TransformToDisplacementField(
            from_matrix(TURN), sitk.sitkVectorFloat64, FIXED.shape, FIXED.origin, FIXED.spacing,
            FIXED.direction.flatten(),
        )
    )  # fmt: skip
    np.testing.assert_allclose(matrix_of(inverted(field, None).transform), np.linalg.inv(TURN), atol=1e-4)


@pytest.mark.parametrize("before", [np.eye(4), TURN, MIRROR], ids=["field alone", "turned", "mirrored"])
def test_there_and_back_again(before):
    transform = composed([from_matrix(before), waves(1.5)])
    moving = Grid(MOVING.shape, MOVING.affine)
    if before is MIRROR:  # x runs the other way there
        moving = Grid(FIXED.shape, np.diag([-1.0, 1, 1, 1]) @ FIXED.affine)
    found = inverted(transform, moving)
    assert found.largest_error < 0.01 and found.mean_error < 0.001
    off = []
    for point in points():
        there = transform.TransformPoint(point)
        if moving.contains(np.array(there)):
            off.append(np.linalg.norm(np.subtract(found.transform.TransformPoint(there), point)))
    assert len(off) > 20
    assert np.max(off) < 0.15  # between voxels, the inverse is interpolated


@pytest.mark.parametrize("parts", [[waves(1.5)], [from_matrix(TURN), waves(1.5)], [waves(1), waves(1.5)]])
def test_how_far_an_inverse_is_from_one_is_true_to_the_edge(parts):
    """By SimpleITK, point by point, also in the outer halves of the fixed image's outer voxels."""
    transform = sitk.CompositeTransform(parts)
    found = inverted(transform, MOVING)
    voxels = MOVING.points(np.indices(MOVING.shape).reshape(3, -1).T)
    back = [found.transform.TransformPoint(point) for point in voxels.tolist()]
    off = np.linalg.norm([transform.TransformPoint(point) for point in back] - voxels, axis=1)
    reached = FIXED.contains(np.array(back))
    assert found.unreached == (~reached).sum() > 0 and found.voxels == len(voxels)
    np.testing.assert_allclose(
        [found.mean_error, found.largest_error], [off[reached].mean(), off[reached].max()], rtol=1e-3
    )
    if len([part for part in parts if not part.IsLinear()]) == 1:
        assert found.largest_error < 0.01


def test_a_fold_is_no_hang_but_an_error_that_is_told():
    found = inverted(waves(9), MOVING)
    assert found.largest_error > 0.5


def test_what_has_no_inverse_is_one_sentence():
    with pytest.raises(UserError, match="onto a plane or a line"):
        inverted(from_matrix(np.diag([1.0, 1, 0, 1])), None)
    with pytest.raises(UserError, match="give that image as reference"):
        inverted(waves(1), None)


@pytest.mark.parametrize("before", [np.eye(4), TURN])
def test_the_domain_is_where_points_meet_the_field(before):
    transform = sitk.CompositeTransform([from_matrix(TURN), waves(1), from_matrix(before)])
    domain = domain_of(transform)
    assert domain.shape == FIXED.shape
    centre = np.array([5.0, 6, 7])
    np.testing.assert_allclose(
        from_matrix(before).TransformPoint(domain.points(centre).tolist()), FIXED.points(centre), atol=1e-9
    )
    assert domain_of(from_matrix(TURN)) is None


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".tfm", ".mat"])
def test_an_affine_transform_is_twelve_numbers_in_every_format(tmp_path, suffix):
    path, pair = tmp_path / f"t{suffix}", Pair(MOVING, FIXED)
    write(path, sitk.CompositeTransform([from_matrix(TURN), sitk.TranslationTransform(3, (1, 2, 3))]), pair)
    assert path.stat().st_size < 20_000
    by_itk = sitk.ReadTransform(str(path))
    assert by_itk.GetName() == "AffineTransform" and len(by_itk.GetParameters()) == 12
    expected = TURN.copy()
    expected[:3, 3] += TURN[:3, :3] @ [1, 2, 3]
    np.testing.assert_allclose(matrix_of(read(path).transform), expected, atol=1e-12)


def test_a_deformation_is_no_mat(tmp_path):
    with pytest.raises(UserError, match=r"\.mat holds affine transforms only"):
        write(tmp_path / "t.mat", waves(1), Pair(MOVING, FIXED))
    assert not list(tmp_path.iterdir())


def test_a_field_needs_its_voxels(tmp_path):
    with pytest.raises(UserError, match="is on the fixed image's voxels; give that image"):
        write(tmp_path / "t.nii.gz", from_matrix(TURN), None)
