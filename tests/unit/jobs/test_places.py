"""What a user brought does not lie where the workflow writes."""

import os
import shutil

import pandas as pd
import pytest

from cohortreg.config import Configuration
from cohortreg.errors import UserError
from cohortreg.files import write_text
from cohortreg.inputs import require_root
from cohortreg.jobs.places import check_places, missing_files, phantoms_made
from cohortreg.layout import Layout


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks a configuration from within a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def check(rows=("a.nii",), **changes):
        given = {"cohort": "tiny", "images": "images.tsv", "pairs": "pairs.tsv", "root": "raw"}
        config = Configuration.read(given | {"preprocess": {"grid": [8, 8, 8]}} | changes)
        table = pd.DataFrame({"image": rows, "label": ""}, index=range(2, 2 + len(rows)))
        check_places(config, table, tmp_path / config.root, Layout("results/tiny"))

    write_text(tmp_path / "results" / "tiny" / "settings" / "train" / "icon-1" / "settings.json", "{}")
    return check


def test_what_lies_elsewhere(check):
    check()
    check(ratings="results/tiny/report/qc.tsv")
    check(root="resources/demo", phantom={"grid": [8, 8, 8], "spacing": [1, 1, 1]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": "results/tiny/images.tsv"}, "images: results/tiny/images.tsv lies in results/tiny"),
        ({"pairs": "results/../results/tiny/mine.tsv"}, "pairs: "),
        ({"ratings": "results/tiny/qc.tsv"}, "ratings: "),
        ({"ratings": "results/tiny/report/index.html"}, "is a file of the report"),
        ({"root": "results/tiny/images"}, "root: "),
        ({"report": {"published": "results/tiny/t.tsv"}}, "report.published: "),
        ({"phantom": {"labels": "results/tiny/labels"}}, "phantom.labels: "),
        ({"phantom": {"labels": "x"}, "root": "raw"}, "below resources/ alone, and root is raw"),
        ({"phantom": {"labels": "x"}, "root": "resources"}, "below resources/ alone"),
        ({"phantom": {"labels": "x"}, "root": "resources/../raw"}, "below resources/ alone"),
        ({"rows": ("../results/tiny/images/a.nii",)}, "row 2, column image"),
    ],
)
def test_what_lies_among_the_results(check, changes, said):
    with pytest.raises(UserError, match=said):
        check(**changes)


def test_by_a_link(check, tmp_path):
    (tmp_path / "raw").symlink_to(tmp_path / "results" / "tiny" / "images")
    with pytest.raises(UserError, match=r"root: .*raw lies in results/tiny"):
        check()


def test_images_are_not_made_through_a_link_out_of_resources(check, tmp_path):
    (tmp_path / "resources").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "resources" / "demo").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="below resources/ alone"):
        check(root="resources/demo", phantom={"labels": "x"})


def test_a_folder_of_results_that_is_somebodys_own(check, tmp_path):
    shutil.rmtree(tmp_path / "results" / "tiny")
    (tmp_path / "results" / "tiny" / "images").mkdir(parents=True)
    check()  # one without a file is free
    for mine in ("images/a.nii.gz", "logs/of-the-scanner.txt", "settings/notes.txt"):
        write_text(tmp_path / "results" / "tiny" / mine, "mine")
    with pytest.raises(UserError, match=r"did not write, such as results/tiny/"):
        check()


def test_made_images_that_were_touched_or_are_gone(tmp_path):
    record = tmp_path / "0.json"
    assert not phantoms_made(record, tmp_path)
    for name in ("a", "b"):
        write_text(tmp_path / name, name)
    write_text(record, '{"a": "", "b": ""}')
    assert phantoms_made(record, tmp_path)
    os.utime(tmp_path / "a", ns=(record.stat().st_mtime_ns + 1,) * 2)
    assert not phantoms_made(record, tmp_path)
    os.utime(tmp_path / "a", (0, 0))
    (tmp_path / "b").unlink()
    assert not phantoms_made(record, tmp_path)


def test_raw_files_that_are_missing(tmp_path):
    write_text(tmp_path / "a.nii", "")
    table = pd.DataFrame({"image": ["a.nii", "b.nii"], "label": ["", "c.nii"]})
    assert missing_files(table, tmp_path) == [
        f"2 raw files are not there, the first of them {tmp_path / 'b.nii'}."
    ]
    assert missing_files(table[:1], tmp_path) == []
    long = pd.DataFrame({"image": ["a" * 300, "a.nii"], "label": ""})
    assert missing_files(long, tmp_path)[0].startswith("1 raw file is not there")
    with pytest.raises(UserError, match="does not exist; correct `root`"):
        require_root(tmp_path / "gone")
