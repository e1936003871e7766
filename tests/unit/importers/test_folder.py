import tempfile
from pathlib import Path

import pytest
from file_names import FILE_NAMES, accepted
from hypothesis import given
from hypothesis import strategies as st
from imports import tables
from series import volume, write_series

from cohortreg.errors import UserError
from cohortreg.importers.folder import import_folder


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def rows(*arguments, **options):
    """Image, label and subject by image_id, and what was said."""
    sentences = []
    found = import_folder(arguments[0], sentences.append, *arguments[1:], **options)
    columns = ["image", "label", "subject_id"]
    return {
        row["image_id"]: tuple(row[c] for c in columns) for row in found.images.to_dict("records")
    }, sentences


def test_a_label_is_that_for_which_the_asterisk_stands_for_the_same(tmp_path):
    put(
        tmp_path,
        "images/a.nii.gz",
        "images/b 1.mha",
        "images/c.nii.gz",
        "images/notes.txt",
        "images/.a.nii.gz",
    )
    put(tmp_path, "labels/a_seg.nii", "labels/b 1_seg.nii", "labels/d_seg.nii", "labels/c.nii")
    images, said = rows("images/*", "labels/*_seg.nii", tmp_path)
    assert images == {
        "a": ("images/a.nii.gz", "labels/a_seg.nii", "a"),
        "b_1": ("images/b 1.mha", "labels/b 1_seg.nii", "b_1"),
        "c": ("images/c.nii.gz", "", "c"),
    }
    assert said == [
        "Left out: 1 file (images/notes.txt); no image by its name.",
        "Left out: 1 label (labels/d_seg.nii); of no image by name.",
        "Without a label: 1 image (images/c.nii.gz).",
    ]


@pytest.mark.parametrize(
    ("images", "labels", "names"),
    [
        ("*.nii.gz", "*_seg.nii.gz", {"x1": "x1_seg.nii.gz", "x2": "x2_seg.nii.gz"}),
        ("*/t1.nii", "*/seg.nii", {"y1": "y1/seg.nii", "y2": "y2/seg.nii"}),
        ("**/t1.nii", "", {"y1": "", "y2": ""}),
        ("x?.nii.gz", "x[12]_seg.nii.gz", {"1": "x1_seg.nii.gz", "2": "x2_seg.nii.gz"}),
        ("x[!1].nii.gz", "", {"2": ""}),
    ],
)
def test_patterns(tmp_path, images, labels, names):
    put(tmp_path, *(f"x{n}{end}.nii.gz" for n in "12" for end in ("", "_seg")))
    put(tmp_path, *(f"y{n}/{name}.nii" for n in "12" for name in ("t1", "seg")))
    found, _ = rows(images, labels, tmp_path)
    assert {name: label for name, (_, label, _) in found.items()} == names


def test_subjects_and_places(tmp_path):
    put(tmp_path, "root/p1_v1.nii", "root/p1_v2.nii", "other/p2_v1.nii")
    images, _ = rows("*.nii", root=tmp_path / "root", subject="^[^_]+")
    assert {name: row[2] for name, row in images.items()} == {"p1_v1": "p1", "p1_v2": "p1"}
    images, _ = rows(str(tmp_path / "*" / "*.nii"), root=tmp_path / "root", subject="p(.)")
    assert images["root_p1_v1"] == ("p1_v1.nii", "", "1")
    assert images["other_p2_v1"] == (str(tmp_path / "other" / "p2_v1.nii"), "", "2")


def test_series(tmp_path):
    for name in "ab":
        write_series(tmp_path / name / "scan", volume())
    (tmp_path / "empty" / "scan").mkdir(parents=True)
    images, said = rows("*/scan", root=tmp_path)
    assert images == {"a": ("a/scan", "", "a"), "b": ("b/scan", "", "b")}
    assert said == ["Left out: 1 file (empty/scan); no image by its name."]


@pytest.mark.parametrize(
    ("images", "options", "problem"),
    [
        ("*.mha", {}, "finds no image; correct the pattern, and write it in quotation marks"),
        ("*", {}, "finds two images 'a', a.nii and a.nii.gz"),
        ("*.nii", {"subject": "("}, "not a regular expression"),
        ("*.nii", {"subject": "x"}, "finds nothing in the name 'a'"),
        ("*.nii", {"root": Path("nowhere")}, "nowhere is not a folder"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(tmp_path, images, options, problem):
    put(tmp_path, "a.nii", "a.nii.gz", "b.nii")
    with pytest.raises(UserError, match=problem.replace("(", r"\(")) as error:
        rows(images, **{"root": tmp_path} | options)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


@given(st.lists(FILE_NAMES, min_size=2, max_size=5, unique=True))
def test_any_names_that_a_file_system_allows(names):
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), *(f"images/{name}.nii" for name in names))
        accepted(
            Path(folder),
            lambda say: tables(import_folder("images/*.nii", say, root=Path(folder))),
            sum(not name.startswith(".") for name in names),
        )
