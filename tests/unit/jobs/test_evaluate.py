"""Measuring registered pairs that lie on disk."""

import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from earlier import write_before

from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table
from cohortreg.files import write_json
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, write_image
from cohortreg.jobs.evaluate import evaluate_shard, measure_pair, registered_pairs
from cohortreg.jobs.registered import seals
from cohortreg.layout import Layout
from cohortreg.maps.coded import read_coded, write_coded
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import to_physical

SHAPE = (8, 10, 9)
STRUCTURES = {"core": [1], "rim": [2, 3]}
# Voxels of 2 x 1 x 3 mm; the moving image lies elsewhere in space.
FIXED = np.diag([2.0, 1.0, 3.0, 1.0])
MOVING = FIXED + np.array([[0, 0, 0, 40], [0, 0, 0, -7], [0, 0, 0, 3], [0, 0, 0, 0.0]])


def write_maps(layout: Layout, method: str, forward: torch.Tensor, inverse: torch.Tensor | None) -> None:
    """Maps [1, 3, *SHAPE] in unit coordinates, as transforms between the images a (moving) and b (fixed)."""
    grids = Grid(SHAPE, MOVING), Grid(SHAPE, FIXED)
    unit = identity_map(SHAPE, dtype=torch.float64)
    write_coded(layout.forward(method, "a", "b"), to_physical(forward - unit, *grids))
    if inverse is not None:
        write_coded(layout.inverse(method, "a", "b"), to_physical(inverse - unit, *reversed(grids)))


def moved(voxels) -> torch.Tensor:
    """The map that adds whole voxels."""
    size = torch.tensor(SHAPE, dtype=torch.float64) - 1
    return identity_map(SHAPE, dtype=torch.float64) + (torch.tensor(voxels) / size).reshape(1, 3, 1, 1, 1)


@pytest.fixture
def layout(tmp_path) -> Layout:
    """Images a and b; the structures of a lie one voxel further along the second axis."""
    layout = Layout(tmp_path)
    for name, affine, offset in (("a", MOVING, 1), ("b", FIXED, 0)):
        label = np.zeros(SHAPE, np.uint8)
        label[2:5, 2 + offset : 5 + offset, 2:5] = 1
        label[5:7, 2 + offset : 5 + offset, 2:5] = 3
        write_image(layout.label(name), Image(label, affine))
        write_image(layout.image(name), Image(label.astype(np.float32), affine))
    for method in ("shift", "mirror"):
        path = layout.registered_shard(method, 0)
        path.parent.mkdir(parents=True)
        pd.DataFrame({"moving": ["a"], "fixed": ["b"], "time_s": [1.25], "hardware": ["x"]}).to_csv(
            path, index=False
        )
    write_maps(layout, "shift", moved((0, 1, 0)), moved((0, -1, 0)))
    unit = identity_map(SHAPE, dtype=torch.float64)
    write_maps(layout, "mirror", torch.cat([1 - unit[:, :1], unit[:, 1:]], dim=1), None)
    return layout


def test_the_right_translation(layout):
    row = measure_pair(layout, "shift", "a", "b", STRUCTURES)
    assert row["dice_mean"] == row["dice_core"] == row["dice_rim"] == 1
    assert row["hd95_mean"] == row["hd95_core"] == row["hd95_rim"] == 0
    assert row["folds"] == row["folds_percent"] == 0
    assert row["log_jacobian_std"] == pytest.approx(0, abs=1e-6)
    assert row["inverse_consistency_voxels"] == pytest.approx(0, abs=1e-5)


def test_distances_are_in_millimetres_of_the_fixed_label(layout):
    write_maps(layout, "shift", moved((0, 1, 1)), None)
    row = measure_pair(layout, "shift", "a", "b", STRUCTURES | {"nothing": [9]})
    assert row["hd95_mean"] == row["hd95_core"] == row["hd95_rim"] == pytest.approx(3)
    assert math.isnan(row["hd95_nothing"])
    assert row["dice_mean"] == pytest.approx(2 / 3)


def test_the_union_is_one_mask_and_no_part_of_the_mean(layout):
    write_maps(layout, "shift", moved((1, 1, 0)), None)
    row = measure_pair(layout, "shift", "a", "b", STRUCTURES)
    # Along the first axis the structures come one voxel too early: 2 of 3 planes, 1 of 2, and 4 of 5 together.
    assert (row["dice_core"], row["dice_rim"], row["dice_union"]) == pytest.approx((2 / 3, 1 / 2, 4 / 5))
    assert row["dice_mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert "dice_union" not in measure_pair(layout, "shift", "a", "b", {"core": [1]})


def test_inverse_consistency_is_in_voxels_whatever_their_size(layout):
    write_maps(layout, "shift", moved((0, 1, 0)), moved((3, -1, 4)))
    row = measure_pair(layout, "shift", "a", "b", STRUCTURES)
    assert row["inverse_consistency_voxels"] == pytest.approx(5, abs=1e-5)


def test_a_mirrored_map_folds_everywhere_and_without_inverse_has_no_error(layout):
    row = measure_pair(layout, "mirror", "a", "b", STRUCTURES)
    assert row["folds"] == 7 * 9 * 8
    assert row["folds_percent"] == 100
    assert math.isnan(row["inverse_consistency_voxels"])


def test_without_labels_the_rest_is_measured(layout):
    layout.label("a").unlink()
    row = measure_pair(layout, "shift", "a", "b", STRUCTURES)
    names = [f"{measure}_{name}" for measure in ("dice", "hd95") for name in ("mean", "core", "rim")]
    assert all(math.isnan(row[name]) for name in names)
    assert row["folds"] == 0


def evaluate(layout, method="shift", structures=STRUCTURES) -> int:
    return evaluate_shard(layout, method, 0, registered_pairs(layout, method, 0), structures, lambda: None)


def test_a_shard_is_measured_once_and_again_only_when_something_changed(layout):
    assert evaluate(layout) == 1
    first = layout.evaluated_shard("shift", 0).read_bytes()
    assert evaluate(layout) == 0
    assert layout.evaluated_shard("shift", 0).read_bytes() == first
    assert evaluate(layout, structures={"core": [1]}) == 1
    assert evaluate(layout) == 1
    write_maps(layout, "shift", moved((0, 0, 0)), moved((0, 0, 0)))
    assert evaluate(layout) == 1
    assert read_table(layout.evaluated_shard("shift", 0))["dice_core"].item() == pytest.approx(2 / 3)


def test_a_record_of_the_registration_stands_for_its_fields(layout):
    write_json(layout.registration_record("shift", "a", "b"), {"made_from": "x", "time_s": 1.25})
    assert evaluate(layout) == 1
    for path in (layout.forward("shift", "a", "b"), layout.inverse("shift", "a", "b")):
        path.unlink()
    assert evaluate(layout) == 0
    with pytest.raises(UserError, match=r"b\.map\.gz was deleted, .* delete .*shift/records and run"):
        evaluate(layout, structures={"core": [1]})
    write_maps(layout, "shift", moved((0, 0, 0)), moved((0, 0, 0)))
    write_json(layout.registration_record("shift", "a", "b"), {"made_from": "y", "time_s": 1.25})
    assert evaluate(layout) == 1
    assert read_table(layout.evaluated_shard("shift", 0))["dice_core"].item() == pytest.approx(2 / 3)


def test_fields_of_an_earlier_version_have_the_same_measures(layout):
    for method in ("shift", "mirror"):
        expected = measure_pair(layout, method, "a", "b", STRUCTURES)
        for path in (layout.forward(method, "a", "b"), layout.inverse(method, "a", "b")):
            if path.is_file():
                write_before(layout.before(path), read_coded(path))
                path.unlink()
        found = measure_pair(layout, method, "a", "b", STRUCTURES)
        assert found == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert evaluate(layout) == 1


def test_columns_of_a_shard_and_missing_values(layout):
    evaluate(layout, "mirror")
    table = read_table(layout.evaluated_shard("mirror", 0))
    assert table.columns.tolist() == [
        *("method", "moving", "fixed", "dice_mean", "dice_core", "dice_rim", "dice_union"),
        *("hd95_mean", "hd95_core", "hd95_rim"),
        *("folds", "folds_percent", "log_jacobian_std", "inverse_consistency_voxels", "time_s", "failure"),
    ]
    assert table["log_jacobian_std"].isna().all()
    assert table["inverse_consistency_voxels"].isna().all()
    assert table["time_s"].tolist() == [1.25]


def test_a_failed_pair_has_its_reason_and_no_numbers(layout):
    path = layout.registered_shard("shift", 0)
    failed = {"moving": "b", "fixed": "a", "time_s": "", "hardware": "x", "failure": "demons, exit 1"}
    pd.concat([pd.read_csv(path), pd.DataFrame([failed])]).to_csv(path, index=False)
    assert evaluate(layout) == 1
    table = read_table(layout.evaluated_shard("shift", 0)).set_index("moving")
    assert table["failure"].to_dict() == {"a": "", "b": "demons, exit 1"}
    assert table.loc["a", "dice_mean"] == 1
    assert table.loc["b"].drop(["method", "fixed", "failure"]).isna().all()
    # Where a later run failed, what was measured before is not taken for its result.
    table = pd.read_csv(path).assign(failure="out of memory")
    table.to_csv(path, index=False)
    assert evaluate(layout) == 0
    assert read_table(layout.evaluated_shard("shift", 0))["dice_mean"].isna().all()


def test_a_shard_that_was_not_registered_is_named(layout):
    with pytest.raises(
        UserError, match=r"7\.csv is missing: run `cohortreg register-shard` for shard 7 of shift"
    ):
        registered_pairs(layout, "shift", 7)


def registered(layout, **more) -> None:
    """The record of a pair as `register-shard` leaves it."""
    content = {"made_from": "x", "time_s": 1.25, "seals": seals(layout, "shift", "a", "b")}
    write_json(layout.registration_record("shift", "a", "b"), content | more)


def test_a_field_that_is_not_the_registered_one_is_not_measured(layout):
    registered(layout)
    assert evaluate(layout) == 1
    write_maps(layout, "shift", moved((0, 0, 0)), moved((0, 0, 0)))
    record = re.escape(str(layout.registration_record("shift", "a", "b")))
    with pytest.raises(
        UserError, match=f"forward/a/b.map.gz is not the field that registration wrote.*delete {record} and"
    ):
        evaluate(layout)
    registered(layout)
    assert evaluate(layout) == 1


def test_a_field_that_is_damaged_after_it_was_measured_is_noticed(layout):
    registered(layout)
    assert evaluate(layout) == 1
    path = layout.inverse("shift", "a", "b")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(
        UserError, match=r"inverse/a/b\.map\.gz is (cut short|damaged).*register the pair again"
    ):
        evaluate(layout)


def test_an_inverse_that_is_gone_is_not_one_that_never_was(layout):
    registered(layout)
    layout.inverse("shift", "a", "b").unlink()
    with pytest.raises(UserError, match=r"inverse/a/b\.map\.gz: no such transform; delete"):
        measure_pair(layout, "shift", "a", "b", STRUCTURES)


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', "{}", '{"inputs": 1}', "[" * 100_000, "\x00"])
def test_a_record_that_is_damaged_is_measured_anew(layout, content):
    assert evaluate(layout) == 1
    layout.evaluated_pair("shift", "a", "b").write_text(content)
    assert evaluate(layout) == 1
    layout.registration_record("shift", "a", "b").parent.mkdir(parents=True)
    layout.registration_record("shift", "a", "b").write_text(content)
    assert evaluate(layout) == 1


@pytest.mark.parametrize("content", ["", "moving,fixed\na,b\n", "\n\n", "x\n1,2\n"])
def test_a_damaged_table_of_registrations_is_named(layout, content):
    layout.registered_shard("shift", 0).write_text(content)
    with pytest.raises(
        UserError, match=r"0\.csv (is cut short|has no column).*delete it and run .*register-shard`"
    ):
        registered_pairs(layout, "shift", 0)


def test_a_record_that_was_changed_is_measured_anew(layout):
    """Of its numbers, one less would be an empty cell."""
    evaluate(layout)
    path = layout.evaluated_pair("shift", "a", "b")
    whole = path.read_text()
    record = json.loads(whole)
    del record["measures"]["hd95_mean"]
    path.write_text(json.dumps(record))
    assert evaluate(layout) == 1
    assert path.read_text() == whole


def test_a_shards_table_that_was_edited_is_refused_where_it_is_read(layout):
    """A Dice of 9.5 would be a mean of 366 % in the tables."""
    evaluate(layout)
    path = layout.evaluated_shard("shift", 0)
    path.write_text(path.read_text().replace("shift,a,b,", "shift,a,b,9", 1))
    with pytest.raises(UserError, match=r"0\.csv is cut short or damaged \(its checksum does not match\)"):
        read_table(path)


def test_a_label_that_is_gone_is_not_one_that_never_was(layout):
    """Dice would be missing from the tables without a word."""
    layout.label("a").unlink()
    assert math.isnan(measure_pair(layout, "shift", "a", "b", STRUCTURES)["dice_mean"])
    write_json(layout.sidecar("a"), {"label": "raw/a.nii.gz"})
    with pytest.raises(UserError, match=r"labels/a\.nii\.gz is missing"):
        measure_pair(layout, "shift", "a", "b", STRUCTURES)
