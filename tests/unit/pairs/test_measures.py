"""Labels of a pair: by hand, and refusals."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

import cohortreg
from cohortreg.errors import UserError

AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])
IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def boxes(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A box of 4 x 4 x 4 voxels of 1, beside one of 2, moved along the second axis."""
    label = np.zeros((12, 16, 8), np.uint8)
    label[2:6, 4 + shift : 8 + shift, 2:6] = 1
    label[6:10, 4 + shift : 8 + shift, 2:6] = 2
    return label, AFFINE


def test_boxes_by_hand():
    measured = cohortreg.measure(IDENTITY, boxes(1), boxes(0), {"a": 1, "b": [2]})
    assert measured == {
        "dice_mean": 0.75,
        "dice_a": 0.75,
        "dice_b": 0.75,
        "dice_union": 0.75,
        "hd95_mean": 1.0,
        "hd95_a": 1.0,
        "hd95_b": 1.0,
    }
    shift = sitk.TranslationTransform(3, (0, -1, 0))  # in LPS: one voxel forward
    assert cohortreg.measure(shift, boxes(1), boxes(0), {"both": [1, 2]})["dice_both"] == 1


def test_without_structures_every_value_of_the_fixed_label_is_one():
    measured = cohortreg.measure(IDENTITY, boxes(0), boxes(0))
    assert {"dice_1", "dice_2", "hd95_1"} <= set(measured) and measured["dice_mean"] == 1
    label, affine = boxes(0)
    measured = cohortreg.measure(IDENTITY, (np.where(label == 1, label, 0), affine), boxes(0))
    assert measured["dice_2"] == 0 and math.isnan(measured["hd95_2"])


def test_values_of_any_type_of_whole_number():
    expected = cohortreg.measure(IDENTITY, boxes(1), boxes(0), {"a": [1, 2]})
    for values in (np.array([1, 2]), range(1, 3), {1, 2}, (np.uint8(1), 2)):
        assert cohortreg.measure(IDENTITY, boxes(1), boxes(0), {"a": values}) == expected
    assert cohortreg.measure(IDENTITY, boxes(0), boxes(0), {"a": np.int64(1)})["dice_a"] == 1


def test_labels_of_other_voxels_and_axes():
    """At twice the resolution along one axis, with the others exchanged, the same boxes are the same."""
    label, affine = boxes(0)
    fine = np.repeat(label, 2, axis=0).transpose(0, 2, 1)
    turned = (affine @ np.diag([0.5, 1, 1, 1]))[:, [0, 2, 1, 3]]
    turned[0, 3] = -0.5
    assert cohortreg.measure(IDENTITY, (fine, turned), boxes(0), {"a": [1]})["dice_a"] == 1


def test_registration_makes_hippocampi_agree_better(pair, found):
    structures = {"anterior": [1], "posterior": [2]}
    labels = pair["moving_label"], pair["fixed_label"]
    before, after = (
        cohortreg.measure(transform, *labels, structures)["dice_mean"]
        for transform in (IDENTITY, found.forward)
    )
    assert after > before


@pytest.mark.parametrize(
    ("moving", "fixed", "structures", "sentence"),
    [
        (
            boxes(0),
            boxes(0),
            {"a": [7]},
            r"the moving label has no voxel of a \(7\), only the values 0, 1, 2",
        ),
        (boxes(0), boxes(0), {"a": [1, 9], "b": [8]}, r"no voxel of b \(8\)"),
        (boxes(0), boxes(0), {"union": [1]}, "the structure union has the name of a column"),
        (boxes(0), boxes(0), {}, "there is no structure to measure"),
        (boxes(0), (np.zeros((4, 4, 4), np.uint8), AFFINE), None, "zero everywhere"),
        (
            boxes(0),
            (np.linspace(0, 1, 64).reshape(4, 4, 4), AFFINE),
            None,
            "the fixed label has values that are not",
        ),
        (boxes(0)[0], boxes(0), None, "the moving label is an array without a place in space"),
        (
            boxes(0),
            (np.ones((4, 4), np.uint8), np.eye(3)),
            None,
            "the transform is 3D and the fixed label 2D",
        ),
        (boxes(0), boxes(0), {"a": 1.0}, r"the structure a is 1\.0; give its label value or values"),
        (boxes(0), boxes(0), {"a": "1"}, "the structure a is '1'"),
        (boxes(0), boxes(0), {"a": []}, r"the structure a is \[\]"),
        (boxes(0), boxes(0), {"a": None}, "the structure a is None"),
        (boxes(0), boxes(0), [1, 2], r"structures are \[1, 2\]; give names and their label values"),
        (boxes(0), boxes(0), {"": 1}, "a structure has the name ''; give a word"),
        (boxes(0), boxes(0), {"a\tb": 1}, r"a structure has the name 'a\\tb'"),
        (boxes(0), boxes(0), {1: 1}, "a structure has the name 1"),
    ],
    ids=range(16),
)
def test_what_cannot_be_measured_is_one_sentence(moving, fixed, structures, sentence):
    with pytest.raises(UserError, match=sentence):
        cohortreg.measure(IDENTITY, moving, fixed, structures)
