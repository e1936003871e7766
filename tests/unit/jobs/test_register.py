"""A shard of pairs: what is kept, and what a pair that cannot be registered leaves."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from earlier import write_before

from cohortreg.errors import UserError
from cohortreg.files import write_json, write_sealed
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, write_image
from cohortreg.jobs import register as job
from cohortreg.jobs.register import pairs_of, register_shard
from cohortreg.jobs.registered import registration, seals
from cohortreg.layout import Layout
from cohortreg.maps.coded import read_coded, write_coded
from cohortreg.maps.transforms import Transform
from cohortreg.methods.identity import Identity
from cohortreg.methods.interface import Registration

PAIRS = pd.DataFrame({"moving": ["a", "b", "c"], "fixed": ["b", "c", "a"]})


class Stumbles(Identity):
    """Registers nothing, and cannot even that for images whose first voxel is 1."""

    def __init__(self):
        self.calls = 0

    def __call__(self, moving, fixed):
        self.calls += 1
        if moving.array.flat[0] == 1:
            raise UserError("reg_f3d ended with code 1: no overlap")
        return super().__call__(moving, fixed)


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout(tmp_path)
    for name in "abc":
        array = np.random.default_rng(ord(name)).random((6, 7, 8), np.float32)
        array.flat[0] = name == "b"
        write_image(layout.image(name), Image(array, np.eye(4)))
        write_json(layout.sidecar(name), {"field_of_view": [[0, 6], [0, 7], [0, 8]]})
    return layout


def register(layout: Layout, method: Identity) -> tuple[pd.DataFrame, list[str]]:
    said = []
    register_shard(layout, "stumbles", method, PAIRS, 0, "cpu", said.append)
    return pd.read_csv(layout.registered_shard("stumbles", 0), keep_default_na=False), said


def test_a_pair_that_fails_is_a_row_with_the_reason_and_the_others_go_on(layout):
    table, said = register(layout, Stumbles())
    assert table["failure"].tolist() == ["", "reg_f3d ended with code 1: no overlap", ""]
    assert [time != "" for time in table["time_s"]] == [True, False, True]
    assert said == ["", "b to c could not be registered: reg_f3d ended with code 1: no overlap", ""]
    assert layout.forward("stumbles", "a", "b").exists()
    assert not layout.forward("stumbles", "b", "c").exists()


class Breaks(Identity):
    """Meets what its library, or its author, did not expect."""

    def __init__(self, error: Exception):
        self.error = error

    def __call__(self, moving, fixed):
        if moving.array.flat[0] == 1:
            raise self.error
        return super().__call__(moving, fixed)


def test_an_error_that_nobody_expected_fails_its_pair_alone_and_is_in_the_log(layout, capsys):
    table, _ = register(layout, Breaks(RuntimeError("itk::ERROR: (0x5)\nmatrix is singular\n")))
    assert table["failure"].tolist() == ["", "RuntimeError: matrix is singular", ""]
    assert "Traceback" in capsys.readouterr().err


def test_a_tool_that_leaves_no_file_fails_its_pair_alone(layout):
    table, _ = register(layout, Breaks(FileNotFoundError(2, "No such file or directory", "field.nii")))
    assert table["failure"].tolist() == [
        "",
        "FileNotFoundError: [Errno 2] No such file or directory: 'field.nii'",
        "",
    ]


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, os.strerror(number)) for number in (5, 12, 24, 28, 30, 122)),
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 20 MiB."),
        RuntimeError("Exception thrown in SimpleITK: std::bad_alloc"),
        caused(UserError("field.nii: no space is left to write it"), OSError(28, "No space left on device")),
        caused(UserError("ANTs failed: it said nothing"), OSError(5, "Input/output error")),
        UserError("reg_f3d ended with exit code 1: write error: No space left on device"),
        FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
    ],
    ids=str,
)
def test_a_fault_of_the_machine_ends_the_command_and_fails_no_pair(layout, error):
    with pytest.raises((OSError, MemoryError, UserError)):
        register(layout, Breaks(error))
    assert not layout.registration_record("stumbles", "b", "c").exists()
    assert not layout.registered_shard("stumbles", 0).exists()
    register(layout, Stumbles())
    assert layout.forward("stumbles", "a", "b").exists()


class Diverges(Identity):
    def __init__(self):
        pass

    def __call__(self, moving, fixed):
        return Registration(super().__call__(moving, fixed).forward * float("nan"), None)


def test_a_displacement_that_is_no_number_fails_its_pair(layout):
    table, _ = register(layout, Diverges())
    assert set(table["failure"]) == {"the computed displacement has NaN or infinite values"}
    assert not layout.forward("stumbles", "a", "b").exists()


def test_fields_that_are_not_those_of_their_record_are_made_again(layout):
    class Counts(Stumbles):
        def __call__(self, moving, fixed):
            self.calls += 1
            return Identity.__call__(self, moving, fixed)

    register(layout, Counts())
    expected = {path: path.read_bytes() for path in layout.root.rglob("*.map.gz")}
    cut, swapped, gone = (layout.forward("stumbles", *ids) for ids in (("a", "b"), ("b", "c"), ("c", "a")))
    cut.write_bytes(cut.read_bytes()[:-1])
    other = Transform(np.ones((3, 6, 7, 8), np.float32), Grid((6, 7, 8), np.eye(4)))
    write_coded(swapped, other)
    gone.unlink()
    again = Counts()
    register(layout, again)
    assert again.calls == 3
    assert {path: path.read_bytes() for path in layout.root.rglob("*.map.gz")} == expected


def as_before(layout: Layout) -> list[Path]:
    """Turn transforms and records into those of an earlier version; return the transforms."""
    paths = sorted(layout.root.rglob("*.map.gz"))
    for path in paths:
        write_before(layout.before(path), read_coded(path))
        path.unlink()
    for moving, fixed in PAIRS.itertuples(index=False):
        record = registration(layout, "stumbles", moving, fixed)
        write_sealed(
            layout.registration_record("stumbles", moving, fixed),
            record | {"seals": seals(layout, "stumbles", moving, fixed)},
        )
    return [layout.before(path) for path in paths]


def test_what_an_earlier_version_registered_is_kept_and_replaced_when_it_changes(layout):
    register(layout, Stumbles())
    before = as_before(layout)
    assert len(before) == 4
    again = Stumbles()
    register(layout, again)
    assert again.calls == 1  # the pair that failed
    assert all(path.is_file() for path in before) and not list(layout.root.rglob("*.map.gz"))
    # One is damaged: of its pair, both are made again, beside the others.
    before[0].write_bytes(before[0].read_bytes()[:-1])
    register(layout, Stumbles())
    assert len(list(layout.root.rglob("*.map.gz"))) == 2
    assert [path.is_file() for path in before].count(True) == 2
    assert not before[0].exists() and layout.forward("stumbles", "a", "b").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"seals": 1}'])
def test_a_pair_whose_record_is_damaged_is_registered_again(layout, content):
    register(layout, Stumbles())
    layout.registration_record("stumbles", "a", "b").write_text(content)
    again = Stumbles()
    register(layout, again)
    assert again.calls == 2  # and the one that failed


@pytest.mark.parametrize("content", ["", "moving\n", "\n"])
def test_a_damaged_shard_of_pairs_is_named(layout, content):
    layout.pair_shard(0).parent.mkdir(parents=True)
    layout.pair_shard(0).write_text(content)
    with pytest.raises(
        UserError, match=r"(is cut short|has no column).*delete it and run `cohortreg cohort`"
    ):
        pairs_of(layout, 0)


def test_what_is_whole_is_kept_and_what_failed_is_tried_again(layout):
    register(layout, Stumbles())
    again = Stumbles()
    register(layout, again)
    assert again.calls == 1


def test_transforms_that_were_deleted_are_made_again_unless_they_were_evaluated(layout):
    register(layout, Stumbles())
    write_json(layout.evaluated_pair("stumbles", "c", "a"), {})
    for moving, fixed in (("a", "b"), ("c", "a")):
        layout.forward("stumbles", moving, fixed).unlink()
    register(layout, Stumbles())
    assert layout.forward("stumbles", "a", "b").exists()
    assert not layout.forward("stumbles", "c", "a").exists()


def test_a_failure_leaves_no_transform_of_an_earlier_result(layout):
    array = np.random.default_rng(0).random((6, 7, 8), np.float32)
    array.flat[0] = 0.5
    good = layout.image("b").read_bytes()
    write_image(layout.image("b"), Image(array, np.eye(4)))
    register(layout, Stumbles())
    assert layout.forward("stumbles", "b", "c").exists()
    layout.image("b").write_bytes(good)
    register(layout, Stumbles())
    assert not layout.forward("stumbles", "b", "c").exists()
    record = json.loads(layout.registration_record("stumbles", "b", "c").read_text())
    assert record["failure"] == "reg_f3d ended with code 1: no overlap"


def test_a_transform_that_was_written_before_a_kill_is_not_that_of_the_record_before(layout, monkeypatch):
    """Made from A, killed while B is written, made from A again: the transforms are A's."""
    register(layout, Stumbles())
    expected = layout.forward("stumbles", "a", "b").read_bytes()

    class Shifts(Stumbles):
        version = "shifts"

        def __call__(self, moving, fixed):
            there = super().__call__(moving, fixed).forward
            return Registration(there + 0.1, there - 0.1)

    class Killed(BaseException):
        pass

    def killed(path, content):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(job, "write_sealed", killed)
        with pytest.raises(Killed):
            register(layout, Shifts())
    assert layout.forward("stumbles", "a", "b").read_bytes() != expected
    register(layout, Stumbles())
    assert layout.forward("stumbles", "a", "b").read_bytes() == expected


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made_from": "x"}'])
def test_a_damaged_record_counts_as_none_and_its_pair_is_registered_again(layout, content):
    method = Stumbles()
    register(layout, method)
    layout.registration_record("stumbles", "a", "b").write_text(content)
    method.calls = 0
    table, _ = register(layout, method)
    assert method.calls == 2  # this pair, and the one that failed before
    assert table["failure"].tolist()[0] == ""


def test_a_reason_of_several_lines_is_one_cell(layout):
    table, _ = register(layout, Breaks(UserError("no\r\noverlap\rat all")))
    assert table["failure"].tolist() == ["", "no overlap at all", ""]


@pytest.mark.parametrize(
    ("content", "words"), [("", "damaged"), ("{}", "no field_of_view"), (None, "is missing")]
)
def test_a_sidecar_that_cannot_be_used_says_what_makes_it_anew(layout, content, words):
    layout.sidecar("a").unlink()
    if content is not None:
        layout.sidecar("a").write_text(content)
    with pytest.raises(UserError, match=f"{words}.* run `cohortreg preprocess` (again|first)"):
        register(layout, Stumbles())
