import numpy as np
import pytest
from scipy import ndimage

from cohortreg.phantoms.anatomy import anatomy

GRID, SPACING = (48, 96, 96), (2.3, 1.46, 1.46)
FEMUR, FEMORAL_CARTILAGE, TIBIA, TIBIAL_CARTILAGE, PATELLA = 1, 2, 3, 4, 5

# Millilitres: what the label maps of the Osteoarthritis Initiative hold, with room for cartilage that is two voxels
# thick at this resolution.
VOLUMES = {
    FEMUR: (110, 240),
    FEMORAL_CARTILAGE: (7, 24),
    TIBIA: (60, 140),
    TIBIAL_CARTILAGE: (2.5, 9),
    PATELLA: (6, 27),
}


@pytest.fixture(scope="module")
def knees():
    return [anatomy(1, f"subject-{n}", "right", GRID, SPACING) for n in range(12)]


def middle(image, value) -> np.ndarray:
    """Centre of a structure in RAS millimetres."""
    return (image.affine @ [*ndimage.center_of_mass(image.array == value), 1])[:3]


def components(mask) -> int:
    return ndimage.label(mask, structure=np.ones((3, 3, 3)))[1]


def test_every_knee_has_every_structure_at_a_plausible_volume(knees):
    for knee in knees:
        assert knee.array.dtype == np.uint8 and knee.array.shape == GRID
        assert set(np.unique(knee.array)) == {0, *VOLUMES}
        for value, (low, high) in VOLUMES.items():
            assert low < (knee.array == value).sum() * np.prod(SPACING) / 1000 < high


def test_structures_are_connected(knees):
    for knee in knees:
        for value in (FEMUR, FEMORAL_CARTILAGE, TIBIA, PATELLA):
            assert components(knee.array == value) == 1
        assert components(knee.array == TIBIAL_CARTILAGE) <= 2  # medial and lateral


def test_structures_lie_where_anatomy_puts_them(knees):
    for knee in knees:
        place = {value: middle(knee, value) for value in VOLUMES}
        assert place[FEMUR][2] > place[FEMORAL_CARTILAGE][2] > place[TIBIAL_CARTILAGE][2] > place[TIBIA][2]
        assert place[PATELLA][1] > place[FEMUR][1] + 25
        assert place[PATELLA][2] > place[TIBIAL_CARTILAGE][2] + 10


def test_cartilage_lies_on_its_bone_and_faces_the_other(knees):
    for knee in knees:
        to = {
            value: ndimage.distance_transform_edt(knee.array != value, sampling=SPACING)
            for value in (FEMUR, TIBIA, TIBIAL_CARTILAGE)
        }
        femoral, tibial = knee.array == FEMORAL_CARTILAGE, knee.array == TIBIAL_CARTILAGE
        assert to[FEMUR][femoral].max() < 6
        assert to[TIBIA][tibial].max() < 6
        assert to[TIBIAL_CARTILAGE][femoral].min() < 3  # they touch but for the gap
        below = np.flatnonzero(femoral.any(axis=(0, 1))).min()
        assert abs(below - np.flatnonzero(tibial.any(axis=(0, 1))).max()) < 8


def test_condyles_leave_a_notch_between_them(knees):
    for knee in knees:
        back = knee.array[:, : int(knee.array.shape[1] * 0.45)] == FEMUR
        across = back.any(axis=1)  # [i, k]
        # At some height behind, bone, no bone, bone from medial to lateral.
        assert max(ndimage.label(across[:, k])[1] for k in range(across.shape[1])) == 2


def test_shafts_leave_the_field_of_view_and_the_joint_does_not(knees):
    for knee in knees:
        assert (knee.array[:, :, -1] == FEMUR).any() and (knee.array[:, :, 0] == TIBIA).any()
        cartilage = np.isin(knee.array, (FEMORAL_CARTILAGE, TIBIAL_CARTILAGE))
        for axis in range(3):
            for edge in (0, -1):
                assert not np.take(cartilage, edge, axis).any()


def test_left_knee_is_the_mirror_image_in_the_middle_of_the_body():
    right, left = (anatomy(1, "anna", side, GRID, SPACING) for side in ("right", "left"))
    np.testing.assert_array_equal(left.array, right.array[::-1])
    for value in VOLUMES:
        np.testing.assert_allclose(middle(left, value), middle(right, value) * [-1, 1, 1], atol=1e-6)
    assert middle(right, FEMUR)[0] > 40  # RAS: right is positive


def test_knee_follows_from_seed_and_identifier():
    first, again, other_seed, other = (
        anatomy(seed, name, "right", GRID, SPACING).array
        for seed, name in ((1, "anna"), (1, "anna"), (2, "anna"), (1, "bert"))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other_seed).mean() > 0.02 and (first != other).mean() > 0.02


def test_same_knee_on_another_grid():
    fine = anatomy(1, "anna", "right", GRID, SPACING)
    coarse = anatomy(1, "anna", "right", [n // 2 for n in GRID], [2 * s for s in SPACING])
    for value in (FEMUR, TIBIA):
        volume = [(image.array == value).sum() * image.spacing.prod() for image in (fine, coarse)]
        assert volume[1] == pytest.approx(volume[0], rel=0.1)
        np.testing.assert_allclose(middle(coarse, value), middle(fine, value), atol=1)


def test_subjects_differ_as_much_as_registration_needs(knees):
    """Femoral cartilage overlaps little where nothing is done, and its shape is not a shifted copy."""
    cartilage = [knee.array == FEMORAL_CARTILAGE for knee in knees]
    pairs = [(one, other) for n, one in enumerate(cartilage) for other in cartilage[:n]]
    dice = [2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in pairs]
    assert 0.1 < np.mean(dice) < 0.45
    shifted = []
    for one, other in pairs[:10]:
        shift = np.subtract(ndimage.center_of_mass(other), ndimage.center_of_mass(one))
        moved = ndimage.shift(one.astype(np.float32), shift, order=1) > 0.5
        shifted.append(2 * (moved & other).sum() / (moved.sum() + other.sum()))
    assert np.mean(shifted) < 0.6
