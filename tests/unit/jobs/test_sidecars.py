"""Sidecars: read as they were written, or refused."""

import json

import pytest

from cohortreg.errors import UserError
from cohortreg.files import SEAL, write_sealed
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout

CONTENT = {
    "image": "a.nii.gz",
    "affine": [[1.5, 0.1], [0.0, 1.0]],
    "mirrored": False,
    "field_of_view": [[0, 8]],
}


def test_what_is_read_is_what_was_written(tmp_path):
    layout = Layout(tmp_path)
    write_sealed(layout.sidecar("a"), CONTENT)
    assert read_sidecar(layout, "a") == CONTENT


@pytest.mark.parametrize("change", [{"affine": [[1.5, "ä"], [0.0, 1.0]]}, {"mirrored": True}, {"more": 1}])
def test_one_that_was_changed_is_refused(tmp_path, change):
    layout = Layout(tmp_path)
    write_sealed(layout.sidecar("a"), CONTENT)
    record = json.loads(layout.sidecar("a").read_text()) | change
    layout.sidecar("a").write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=r"a\.json is cut short or damaged .* run `cohortreg preprocess` again"
    ):
        read_sidecar(layout, "a")


def test_one_of_an_earlier_version_has_no_seal(tmp_path):
    layout = Layout(tmp_path)
    layout.sidecar("a").parent.mkdir()
    layout.sidecar("a").write_text(json.dumps(CONTENT))
    assert SEAL not in CONTENT and read_sidecar(layout, "a") == CONTENT
