from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

from cohortreg.errors import UserError
from cohortreg.images.io import Image, write_image
from cohortreg.importers.survey import LABELS, survey


def cohort(folder, shapes, labels=()) -> pd.DataFrame:
    """Images of the shapes, 2 mm along the first axis and 1 along others, and labels of the values on their grids."""
    rows = []
    for number, shape in enumerate(shapes):
        affine = np.diag([2.0, *[1.0] * 3])
        write_image(folder / f"{number}.nii.gz", Image(np.zeros(shape, np.float32), affine))
        row = {"image": f"{number}.nii.gz", "label": ""}
        if number < len(labels):
            array = np.zeros(shape, np.uint8)
            array.flat[: len(labels[number])] = labels[number]
            write_image(folder / f"{number}_label.nii.gz", Image(array, affine))
            row["label"] = f"{number}_label.nii.gz"
        rows.append(row)
    return pd.DataFrame(rows)


def test_grids_and_label_values_of_all(tmp_path):
    images = cohort(tmp_path, [(4, 5, 6), (4, 5, 7), (4, 5, 6)], [[1, 2, 2, 2], [2, 2, 7]])
    found = survey(images, tmp_path)
    assert found.shapes.tolist() == [[4, 5, 6], [4, 5, 7], [4, 5, 6]]
    assert found.spacings.tolist() == [[2, 1, 1]] * 3
    # The one with the most voxels first; 1 and 7 are each in one of the two labels.
    assert (found.values[0], set(found.values), found.labels) == (2, {1, 2, 7}, 2)
    assert found.missing == {1: 1, 7: 1}
    assert found.unreadable == 0


def test_axes_are_those_of_the_body(tmp_path):
    turned = np.array(
        [[0, 0, 1.0, 0], [2, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1]]
    )  # the first axis is anterior
    write_image(tmp_path / "a.nii.gz", Image(np.zeros((4, 5, 6), np.float32), turned))
    found = survey(pd.DataFrame([{"image": "a.nii.gz", "label": ""}]), tmp_path)
    assert (found.shapes.tolist(), found.spacings.tolist()) == ([[6, 4, 5]], [[1, 2, 3]])


def test_what_cannot_be_read_is_counted_and_none_at_all_refused(tmp_path):
    images = cohort(tmp_path, [(4, 5, 6)] * 3, [[1], [1], [1]])
    (tmp_path / "1.nii.gz").write_bytes(b"")
    (tmp_path / "2_label.nii.gz").write_bytes(b"")
    found = survey(images, tmp_path)
    assert (len(found.shapes), found.unreadable, found.labels, found.missing) == (2, 1, 2, {})
    with pytest.raises(UserError, match=r"1\.nii\.gz"):
        survey(images[1:2], tmp_path)


def test_a_large_cohort_is_looked_at_in_part_from_first_to_last(tmp_path):
    images = cohort(tmp_path, [(2, 2, 2)], [[1]])
    many = pd.concat([images] * (2 * LABELS + 1), ignore_index=True)
    bars = []

    def bar(what, total):
        bars.append((what, total))
        return nullcontext(lambda: None)

    found = survey(many, tmp_path, bar)
    assert bars == [("Images", 2 * LABELS + 1), ("Labels", 41)]
    assert found.labels == 41
