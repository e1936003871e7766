from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.cohort.tables import (
    distinct,
    leak_warnings,
    read_images,
    read_pairs,
    read_table,
    require_training,
    write_table,
)
from cohortreg.errors import UserError
from cohortreg.files import write_text

REPOSITORY = Path(__file__).parents[3]

IMAGES = """\
image_id\tsubject_id\tside\tsplit\timage\tlabel
a\tanna\tleft\ttrain\ta.nii.gz\ta_label.nii.gz
b\tbert\tright\ttest\tb.nii.gz\t
NA\tcleo\t\t\tc.nii.gz\t
"""
PAIRS = "moving\tfixed\na\tb\nb\ta\n"


@pytest.fixture
def table(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "table.tsv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(read, path, *words) -> None:
    """Reading ends with one sentence that names the file and has all the words."""
    with pytest.raises(UserError) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and message.endswith(".")
    for word in words:
        assert word in message, message


def test_images_are_read_as_they_are_written(table):
    images = read_images(table(IMAGES))
    assert images["image_id"].tolist() == ["a", "b", "NA"]
    assert images["label"].tolist() == ["a_label.nii.gz", "", ""]
    assert images.index.tolist() == [2, 3, 4]


def test_more_columns_are_kept_and_written_again(table, tmp_path):
    text = IMAGES.replace("\tlabel\n", "\tlabel\tage\n").replace("_label.nii.gz\n", "_label.nii.gz\t007\n")
    images = read_images(table(text))
    assert images["age"].tolist() == ["007", "", ""]
    write_table(tmp_path / "again.tsv", images)
    pd.testing.assert_frame_equal(read_images(tmp_path / "again.tsv"), images)


@pytest.mark.parametrize("text", [IMAGES.replace("\n", "\r\n"), "\ufeff" + IMAGES, "\n" + IMAGES + "\n\n"])
def test_spreadsheets_habits_are_forgiven(table, text):
    assert read_images(table(text))["image_id"].tolist() == ["a", "b", "NA"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("b\tbert", "a\tbert", ["row 3", "image_id 'a'", "row 2"]),
        ("b\tbert", "b/1\tbert", ["row 3", "column image_id", "'b/1'", "path separator"]),
        ("b\tbert", "b\\1\tbert", ["row 3", "column image_id", "path separator"]),
        ("b\tbert", "..\tbert", ["row 3", "column image_id", "'..'"]),
        ("b\tbert", "\tbert", ["row 3", "column image_id", "is empty"]),
        ("b\tbert", "b\t", ["row 3", "column subject_id", "is empty"]),
        ("b\tbert\tright", "b\tbert\tRight", ["row 3", "column side", "'Right'", "left or right"]),
        ("right\ttest", "right\ttesting", ["row 3", "column split", "'testing'"]),
        ("\tb.nii.gz\t", "\t\t", ["row 3", "column image", "is empty"]),
        ("\tb.nii.gz\t", "\tb.nii.gz\tb\tc", ["row 3", "7 cells for 6 columns"]),
        ("\tsplit\t", "\tgroup\t", ["no column split"]),
        ("\t", ",", ["is separated by commas; save it as tab-separated text"]),
        ("\t", ";", ["is separated by semicolons;"]),
        ("\t", " ", ["is separated by spaces;"]),
        ("\t", '","', ["is separated by commas;"]),
    ],
)
def test_bad_table_of_images(table, old, new, words):
    count = 1 if old != "\t" else -1
    refused(read_images, table(IMAGES.replace(old, new, count)), *words)


def test_row_in_the_message_is_the_line_in_the_file(table):
    refused(read_images, table(IMAGES.replace("NA\tcleo\t\t", "\n\nNA\tcleo\tup\t")), "row 6", "column side")


@pytest.mark.parametrize("text", ["", "\n\n", IMAGES.splitlines()[0] + "\n"])
def test_empty_table(table, text):
    refused(read_images, table(text), "no rows" if text.strip() else "is empty")


def test_table_that_is_missing_or_not_text(tmp_path):
    refused(read_images, tmp_path / "none.tsv", "does not exist")
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    refused(read_images, tmp_path / "table.xlsx", "not UTF-8 text")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PAIRS + "a\tx\n", ["row 4", "column fixed", "'x'"]),
        (PAIRS + "x\tb\n", ["row 4", "column moving", "'x'"]),
        (PAIRS + "b\tb\n", ["row 4", "'b'", "itself"]),
        (PAIRS + "a\tb\n", ["row 4", "moving 'a', fixed 'b'", "row 2"]),
        (PAIRS + "a\t\n", ["row 4", "column fixed", "is empty"]),
        ("moving\tfixed\n", ["no rows"]),
        ("moving\ttarget\na\tb\n", ["no column fixed"]),
    ],
)
def test_bad_table_of_pairs(table, text, words):
    images = read_images(table(IMAGES))
    refused(lambda path: read_pairs(path, images), table(text), *words)


def test_both_directions_are_two_pairs(table):
    images = read_images(table(IMAGES))
    assert len(read_pairs(table(PAIRS), images)) == 2


def test_what_must_be_trained_needs_two_training_images(table):
    one = read_images(table(IMAGES))
    none = one.assign(split="test")
    for images, words in (
        (one, "only one image has train"),
        (none, "no image has train in the column split"),
    ):
        require_training("mine.tsv", images, [])
        with pytest.raises(UserError, match=rf"^mine.tsv: {words}.* icon-4step must be trained"):
            require_training("mine.tsv", images, ["icon-4step"])
    require_training("mine.tsv", pd.concat([one, one]), ["icon-4step"])


def test_no_warning_without_leak(table):
    images = read_images(table(IMAGES.replace("train", "")))
    assert leak_warnings(images, pd.DataFrame({"moving": ["a"], "fixed": ["b"]})) == []


def test_warning_counts_test_subjects_in_training(table):
    more = IMAGES + "a2\tanna\tright\ttest\ta2.nii.gz\t\nb2\tbert\tleft\ttrain\tb2.nii.gz\t\n"
    images = read_images(table(more))
    (warning,) = leak_warnings(images, pd.DataFrame({"moving": ["a2"], "fixed": ["b"]}))
    assert "2 test subjects" in warning and "(anna, bert)" in warning


def test_pair_of_training_images_is_a_leak(table):
    images = read_images(table(IMAGES))
    (warning,) = leak_warnings(images, pd.DataFrame({"moving": ["a"], "fixed": ["b"]}))
    assert "1 test subject is" in warning and "(anna)" in warning


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train", "1 validation subject is also in training (cleo)"),
        ("test", "1 test subject is also in validation (cleo)"),
    ],
)
def test_a_validation_subject_is_neither_trained_on_nor_tested(table, split, words):
    rows = IMAGES + "v1\tcleo\t\tvalidation\tv1.nii.gz\t\n"
    pairs = pd.DataFrame({"moving": ["b"], "fixed": ["b"]})
    assert leak_warnings(read_images(table(rows)), pairs) == []
    images = read_images(table(rows + f"v2\tcleo\t\t{split}\tv2.nii.gz\t\n"))
    (warning,) = leak_warnings(images, pairs)
    assert words in warning


def test_fifty_thousand_rows_are_read_at_the_start_of_a_job(tmp_path):
    numbers = [f"{n:05d}" for n in range(50_000)]
    rows = [f"i{n}\ts{n}\tleft\ttest\ti{n}.nii.gz\t\n" for n in numbers]
    (tmp_path / "images.tsv").write_text(IMAGES.splitlines()[0] + "\n" + "".join(rows))
    pairs = [f"i{one}\ti{other}\n" for one, other in pairwise(numbers)]
    (tmp_path / "pairs.tsv").write_text("moving\tfixed\n" + "".join(pairs))
    images = read_images(tmp_path / "images.tsv")
    assert len(read_pairs(tmp_path / "pairs.tsv", images)) == 49_999


def test_repeats_and_images_with_themselves_are_for_the_published_set(table, tmp_path):
    images = read_images(table(IMAGES))
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "moving\tfixed\tset\na\tb\tpublished\na\tb\t\na\ta\tpublished\na\ta\tpublished\nb\ta\tyear-1\n"
    )
    pairs = read_pairs(path, images)
    assert pairs["set"].tolist() == ["published", "", "published", "published", "year-1"]
    assert distinct(pairs).values.tolist() == [["a", "b", ""], ["a", "a", "published"], ["b", "a", "year-1"]]
    for row, words in (
        ("a\ta\tyear-1", ["row 7", "paired with itself"]),
        ("a\tb\tyear-1", ["row 7", "moving 'a', fixed 'b' is already in row 3"]),
        ("b\tNA\tyear 1", ["row 7", "column set", "'year 1'"]),
        ("b\tNA\tmain", ["row 7", "column set", "'main'"]),
    ):
        more = tmp_path / "more.tsv"
        more.write_text(path.read_text() + row + "\n")
        refused(lambda at: read_pairs(at, images), more, *words)


def test_without_a_column_every_set_is_empty(table, tmp_path):
    images = read_images(table(IMAGES))
    (tmp_path / "pairs.tsv").write_text(PAIRS)
    pairs = read_pairs(tmp_path / "pairs.tsv", images)
    assert pairs.columns.tolist() == ["moving", "fixed"]
    assert distinct(pairs).values.tolist() == [["a", "b", ""], ["b", "a", ""]]


@pytest.mark.parametrize("name", ["images", "pairs"])
def test_schemas_describe_every_column(name):
    schema = yaml.safe_load((REPOSITORY / f"src/cohortreg/schemas/{name}.schema.yaml").read_text())
    assert set(schema["properties"]) - set(schema["required"]) == ({"set"} if name == "pairs" else set())
    assert all(len(rule["description"]) > 20 for rule in schema["properties"].values())


@pytest.mark.parametrize("cohort", ["demo", "hippocampus"])
def test_tables_of_the_repository_are_valid(cohort):
    folder = REPOSITORY / "config" / cohort
    images = read_images(folder / "images.tsv")
    pairs = read_pairs(folder / "pairs.tsv", images)
    assert leak_warnings(images, pairs) == []
    split = images.set_index("image_id")["split"]
    assert set(split[[*pairs["moving"], *pairs["fixed"]]]) == {"test"}


# What a spreadsheet, or a person, may put into a cell: everything but a tab and the end of a line.
ODD = ["NA", "nan", "null", "1e5", "001", "-", "--help", '"', '"quoted"', '"open', "'", "#", "%s", "$x$"]
ODD += ["&<b>", "a,b=c", " a ", "Ä", "A\u0308", "א", "👩\u200d⚕️", "CON", "~", "*", "[a]", "{a}", ".", ".."]
ODD += ["\x00", "\x85", "\u2028", "\ufeff"]
ANY = st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"])
CELLS = st.text(ANY, max_size=12) | st.sampled_from(ODD)


def as_written(header, rows) -> str:
    return "".join("\t".join(row) + "\n" for row in (header, *rows))


@settings(deadline=None)
@given(ids=st.lists(CELLS, min_size=1, max_size=4), notes=st.lists(CELLS, min_size=4, max_size=4), name=CELLS)
def test_cells_are_kept_as_they_are_or_refused(tmp_path_factory, ids, notes, name):
    path = tmp_path_factory.mktemp("cells") / "images.tsv"
    header = [*IMAGES.split("\n")[0].split("\t"), f"n{name}"]
    rows = [[image_id, f"s{k}", "", "", "a.nii", "", notes[k]] for k, image_id in enumerate(ids)]
    path.write_text(as_written(header, rows), encoding="utf-8")
    try:
        images = read_images(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert images.values.tolist() == rows and images.columns.tolist() == header
    assert all((path.parent / f"{image_id}.nii.gz").parent == path.parent for image_id in ids)
    write_table(path, images)
    again = read_table(path, ["image_id"])
    assert again.values.tolist() == rows and again.columns.tolist() == header


@pytest.mark.parametrize(
    "image_id", ["NA", "nan", "1e5", "001", 'a"b', "-x", "#a", "%d", "$a$", "<b>", "é", "e\u0301", "CON"]
)
def test_names_that_look_like_something_else_are_kept(table, image_id):
    images = read_images(table(IMAGES.replace("NA\t", f"{image_id}\t")))
    assert images["image_id"].tolist() == ["a", "b", image_id]


def test_quotation_marks_in_a_note_swallow_no_row(table):
    images = read_images(table(IMAGES))
    pairs = read_pairs(table('moving\tfixed\tnote\na\tb\t"motion\nb\ta\tfine"\nNA\ta\t"\n'), images)
    assert pairs["note"].tolist() == ['"motion', 'fine"', '"']


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image_id\t", '"image_id"\t', ["image_id in quotation marks", "without quotation"]),
        ("b\tbert", '"b"\tbert', ["row 3", "column image_id", "quotation marks"]),
        ("\tb.nii.gz", '\t"b.nii.gz"', ["row 3", "column image", "quotation marks"]),
        ("side\t", "image_id\t", ["no column side"]),
        ("\tlabel\n", "\tlabel\tlabel\n", ["the column 'label' twice"]),
        ("b\tbert", "b\x07\tbert", ["row 3", "column image_id", "'b\\x07'"]),
        ("b\tbert", "A\tbert", ["row 3", "'A' and 'a' of row 2 differ only in case"]),
        ("b\tbert", "ü\tbert\t\t\ti\t\nu\u0308\tbert", ["differ only in case or in how accents"]),
        ("b\tbert", "x" * 249 + "\tbert", ["row 3", "249 bytes", "room for 248"]),
        ("b\tbert", "ü" * 125 + "\tbert", ["row 3", "250 bytes"]),
    ],
)  # fmt: skip
def test_names_that_no_file_can_have_are_refused(table, old, new, words):
    refused(read_images, table(IMAGES.replace(old, new, 1)), *words)


def test_the_longest_name_is_one_that_its_files_can_have(table, tmp_path):
    longest = "x" * 248
    assert read_images(table(IMAGES.replace("NA", longest)))["image_id"].iloc[-1] == longest
    write_text(tmp_path / f"{longest}.nii.gz", "image")


def test_tabs_at_the_ends_of_all_rows_are_a_spreadsheet_s(table):
    assert read_images(table(IMAGES.replace("\n", "\t\t\n"))).columns[-1] == "label"


def test_a_table_that_may_not_be_read_ends_in_a_sentence(tmp_path):
    (tmp_path / "loop.tsv").symlink_to(tmp_path / "loop.tsv")
    for path in (tmp_path / "loop.tsv", tmp_path / ("x" * 300), tmp_path):
        with pytest.raises(UserError):
            read_images(path)


@pytest.mark.parametrize(
    "content", [b"", b"moving\tfi", b"moving\tfixed\na\tb\nb", b"moving\tfixed\na\n", b"\xff\n", b"moving\n"]
)
def test_a_damaged_table_of_ours_says_what_makes_it_anew(tmp_path, content):
    path = tmp_path / "0.tsv"
    path.write_bytes(content)
    refused(
        lambda path: read_table(path, ["moving", "fixed"], "`cohortreg cohort`"),
        path,
        "delete it",
        "run `cohortreg cohort` again",
    )
    path.unlink()
    refused(lambda path: read_table(path, ["moving"], "`cohortreg cohort`"), path, "is missing")
