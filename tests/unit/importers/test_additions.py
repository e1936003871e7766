import tempfile
import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imports import tables as completed

from cohortreg.cohort.tables import read_images, read_pairs, write_table
from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before, add, read_before, recognised
from cohortreg.importers.found import Found
from cohortreg.importers.split import draw_pairs, with_splits

COLUMNS = ["image_id", "subject_id", "side", "split", "image", "label"]
IMPORTED = [f"new{n}" for n in range(6)]
CELLS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=6
)
NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S"], exclude_characters="/\\"), min_size=1, max_size=8
)


def found(names, **more) -> pd.DataFrame:
    """Rows as an importer makes them, each image a subject of its own."""
    rows = [
        {"image_id": n, "subject_id": n, "side": "", "split": "", "image": f"i/{n}.nii.gz", "label": ""}
        | more
        for n in names
    ]
    return pd.DataFrame(rows, columns=[*COLUMNS, *more.keys() - set(COLUMNS)], dtype=str)


def alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def tables_of(images, test_fraction, pairs, before=NOTHING, root=None, validation=0.0):
    """Tables of images that an importer found, with their splits, and pairs."""
    return completed(Found(images, root), test_fraction, pairs, 1, before, validation)


@st.composite
def tables(draw) -> tuple[bytes, bytes]:
    """Tables of images and pairs as people keep them, some rows of which an import would also write."""
    own = draw(st.lists(NAMES.filter(lambda name: not name.startswith(".")), max_size=4, unique_by=alike))
    names = [*own, *draw(st.lists(st.sampled_from(IMPORTED), max_size=3, unique=True))]
    own_pairs = (
        draw(st.lists(st.tuples(*[st.sampled_from(names)] * 2), max_size=4, unique=True)) if names else []
    )
    sides, splits = st.sampled_from(["left", ""]), st.sampled_from(["train", "validation", "test", ""])
    images = [
        [name, draw(NAMES), draw(sides), draw(splits), f"p/{number}", draw(CELLS)]
        for number, name in enumerate(names)
    ]
    pairs = [list(pair) for pair in own_pairs if pair[0] != pair[1]]
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))

    def text(columns: list[str], rows: list[list[str]]) -> bytes:
        further = draw(
            st.lists(st.sampled_from(["note", "age", "Alter, Jahre", '"']), max_size=2, unique=True)
        )
        rows = [row + [draw(CELLS) for _ in further] for row in rows]
        order = draw(st.permutations(range(len(columns) + len(further))))
        lines = ["\t".join(row[k] for k in order) for row in [columns + further, *rows]]
        for blank in draw(st.lists(st.integers(0, len(lines)), max_size=2)):
            lines.insert(blank, draw(st.sampled_from(["", "  "])))
        content = end.join(lines) + draw(st.sampled_from(["", end, end + end]))
        return (draw(st.sampled_from(["", "\ufeff"])) + content).encode()

    return text(COLUMNS, images), text(["moving", "fixed"], pairs)


def lines_of(content: bytes) -> list[bytes]:
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


@given(tables(), st.booleans(), st.booleans(), st.integers(1, 5))
def test_no_byte_of_a_table_is_changed_and_a_second_import_adds_nothing(both, with_images, with_pairs, count):
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        there = dict(zip(("images.tsv", "pairs.tsv"), both, strict=True))
        for name, is_there in (("images.tsv", with_images), ("pairs.tsv", with_images and with_pairs)):
            if is_there:
                (output / name).write_bytes(there[name])
            else:
                del there[name]
        contents = []
        for _ in range(2):
            before = read_before(output)
            try:
                images, pairs = tables_of(found(IMPORTED), 4 / 6, count, before, output)
            except UserError as error:
                assert "make no pair" in str(error)
                assert all((output / name).read_bytes() == content for name, content in there.items())
                return
            added = add(output, images, pairs, output)
            contents.append({path.name: path.read_bytes() for path in output.iterdir()})
        for name, content in there.items():
            assert contents[0][name].startswith(content)
            own, now = lines_of(content), lines_of(contents[0][name])
            assert now[: len(own) - (own[-1] == b"")] == own[: len(own) - (own[-1] == b"")]
        assert contents[1] == contents[0] and (added.new_images, added.new_pairs) == (0, 0)
        table = read_images(output / "images.tsv")
        read_pairs(output / "pairs.tsv", table)
        was = before.images.set_index("image_id")["split"]
        assert (table.set_index("image_id")["split"][was.index] == was).all()


@pytest.fixture
def cohort(tmp_path):
    """A folder with the tables of twenty subjects, five of them test subjects, and ten pairs."""
    images, pairs = tables_of(found([f"s{n}" for n in range(20)]), 5 / 20, 10)
    add(tmp_path, images, pairs)
    return tmp_path


def splits(table: pd.DataFrame) -> dict[str, str]:
    return dict(zip(table["image_id"], table["split"], strict=True))


def test_new_subjects_move_nobody(cohort):
    before = read_before(cohort)
    images, pairs = tables_of(found([f"s{n}" for n in range(40)]), 10 / 40, 15, before)
    assert splits(before.images).items() <= splits(images).items()
    assert list(splits(images).values()).count("test") == 10
    # Pairs are brought up to the number that is asked for, each with a new image.
    old = set(before.images["image_id"])
    assert len(pairs) == 5 and all(not {*pair} <= old for pair in pairs.itertuples(index=False))
    assert all(splits(images)[name] == "test" for name in [*pairs["moving"], *pairs["fixed"]])
    added = add(cohort, images, pairs)
    assert (added.new_images, added.new_pairs, len(added.pairs)) == (20, 5, 15)


def test_validation_subjects_are_drawn_among_those_who_are_new_and_not_tested(cohort):
    found_again = found([f"s{n}" for n in range(20)])
    images, _ = tables_of(found_again, 5 / 20, 10, validation=4 / 20)
    tested, validated = (
        {name for name, split in splits(images).items() if split == each} for each in ("test", "validation")
    )
    assert tested == {name for name, split in splits(read_before(cohort).images).items() if split == "test"}
    assert len(validated) == 4 and not validated & tested
    before = read_before(cohort)
    grown, _ = tables_of(found([f"s{n}" for n in range(40)]), 10 / 40, 15, before, validation=4 / 40)
    assert splits(before.images).items() <= splits(grown).items()
    counts = grown["split"].value_counts().to_dict()
    assert counts == {"train": 26, "test": 10, "validation": 4}


def test_a_pair_that_was_removed_does_not_come_back(cohort):
    lines = (cohort / "pairs.tsv").read_bytes().splitlines(keepends=True)
    (cohort / "pairs.tsv").write_bytes(b"".join(lines[:-3]))
    images, pairs = tables_of(found([f"s{n}" for n in range(20)]), 5 / 20, 10, read_before(cohort))
    assert pairs.empty and add(cohort, images, pairs).new_pairs == 0
    # Without the table all are drawn again, as the first time.
    (cohort / "pairs.tsv").unlink()
    images, pairs = tables_of(found([f"s{n}" for n in range(20)]), 5 / 20, 10, read_before(cohort))
    add(cohort, images, pairs)
    assert (cohort / "pairs.tsv").read_bytes() == b"".join(lines)


def test_new_test_images_without_a_pair_are_named(cohort):
    images, pairs = tables_of(found([f"s{n}" for n in range(24)]), 6 / 24, 10, read_before(cohort))
    assert pairs.empty
    (said,) = add(cohort, images, pairs).sentences
    assert said.startswith("1 new test image in no pair (s2") and "pairs.tsv has 10 already" in said


@pytest.mark.parametrize(
    ("there", "split"),
    [
        (["test"], "test"),
        (["train"], "train"),
        ([""], ""),
        (["test", "train"], "train"),
        (["test", "validation"], "validation"),
        (["validation", "train"], "train"),
        (["", "test"], "test"),
    ],
)
def test_a_new_image_is_of_its_subject_s_split(there, split):
    table = found([f"a{n}" for n in range(len(there))], subject_id="anna").assign(split=there)
    images = with_splits(found(["a9"], subject_id="anna"), 1, 1, Before(table, NOTHING.pairs))
    assert images["split"].tolist() == [split]


def test_an_image_under_another_name_is_not_imported_again(cohort):
    """Nor is a person who has another name in the table taken for a new one, who might be drawn for the other split."""
    table = (cohort / "images.tsv").read_text().replace("s3\ts3\t", "Anna-1\tanna\t")
    (cohort / "images.tsv").write_text(table.replace("i/s3.nii.gz", f"{cohort}/./i/s3.nii.gz"))
    (cohort / "pairs.tsv").write_text((cohort / "pairs.tsv").read_text().replace("s3\t", "Anna-1\t"))
    new = found(["s3-later"], subject_id="s3")
    images = recognised(pd.concat([found(["s3", "s4"]), new], ignore_index=True), read_before(cohort), cohort)
    assert images["image_id"].tolist() == ["Anna-1", "s4", "s3-later"]
    assert images["subject_id"].tolist() == ["anna", "s4", "anna"]


def test_rows_are_put_below_the_columns_that_a_table_has(tmp_path):
    (tmp_path / "images.tsv").write_bytes(
        b"note\tlabel\timage\tsplit\tside\tsubject_id\timage_id\r\nlook\t\tx\ttest\t\tb\tb"
    )
    added = add(
        tmp_path, found(["a", "b"], visit="3", split="test"), pd.DataFrame({"moving": ["a"], "fixed": ["b"]})
    )
    assert (tmp_path / "images.tsv").read_bytes().endswith(b"\tb\tb\r\n\t\ti/a.nii.gz\ttest\t\ta\ta\r\n")
    assert (tmp_path / "pairs.tsv").read_bytes() == b"moving\tfixed\na\tb\n"
    assert any("has no column visit" in said for said in added.sentences)
    assert any(said.startswith("1 image with another image, label or split") for said in added.sentences)


def test_rows_whose_files_are_gone_are_kept_and_said(tmp_path):
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "a.nii.gz").touch()
    pairs = pd.DataFrame({"moving": ["a"], "fixed": ["b"]})
    (said,) = add(tmp_path, found(["a", "b"], split="test"), pairs, tmp_path).sentences
    assert "1 file that images.tsv names (i/b.nii.gz)" in said


def test_further_tables_keep_what_is_there_too(cohort):
    def missing(*names):
        return pd.DataFrame(
            [[name, "image", name] for name in names], columns=["image_id", "file", "name"], dtype=str
        )

    before = read_before(cohort)
    add(cohort, before.images, before.pairs, others={"missing.tsv": missing("a", "b")})
    noted = (
        (cohort / "missing.tsv")
        .read_text()
        .replace("name\n", "name\tnote\n")
        .replace("\ta\n", "\ta\tasked\n")
    )
    (cohort / "missing.tsv").write_text(noted)
    (said,) = add(cohort, before.images, before.pairs, others={"missing.tsv": missing("b", "c")}).sentences
    assert (cohort / "missing.tsv").read_text() == noted + "c\timage\tc\t\n"
    assert "keeps 1 row of earlier imports" in said
    (cohort / "missing.tsv").write_text("mine\n")
    with pytest.raises(UserError, match="has no column image_id, file, name"):
        add(cohort, before.images, before.pairs, others={"missing.tsv": missing("b")})


IMAGES = b"image_id\tsubject_id\tside\tsplit\timage\tlabel\n"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("images.tsv", "b\u00e4r".encode("latin-1"), "not UTF-8"),
        ("images.tsv", IMAGES.decode().encode("utf-16"), "not UTF-8"),
        ("images.tsv", b"id\tsubject\n1\t2\n", "no column image_id, subject_id"),
        (
            "images.tsv",
            b"image_id,subject_id\n1,2\n",
            "is separated by commas; save it as tab-separated text",
        ),
        ("images.tsv", IMAGES + b"a\ta\tup\t\tx\t\n", "row 2, column side"),
        ("images.tsv", IMAGES + b"a\ta\t\t\tx\t\t\n", "7 cells for 6 columns"),
        ("images.tsv", IMAGES + b"# a note\n", "row 2, column image_id"),
        ("pairs.tsv", b"moving\ttarget\n", "no column fixed"),
        ("pairs.tsv", b"moving\tfixed\nx\ty\n", "pairs.tsv, with what is to be added, row 2, .*no image 'x'"),
    ],
)
def test_a_table_that_cannot_be_read_is_a_sentence_and_nothing_is_written(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=problem) as error:
        images, pairs = tables_of(found(IMPORTED), 4 / 6, 5, read_before(tmp_path), tmp_path)
        add(
            tmp_path,
            images,
            pd.concat([pairs, pd.DataFrame({"moving": ["new0"], "fixed": ["new1"]})]),
            tmp_path,
        )
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == content


def test_links_and_permissions_stay(cohort, tmp_path):
    elsewhere = tmp_path / "elsewhere.tsv"
    (cohort / "images.tsv").rename(elsewhere)
    elsewhere.chmod(0o640)
    (cohort / "images.tsv").symlink_to(elsewhere)
    images, pairs = tables_of(found([f"s{n}" for n in range(21)]), 5 / 21, 10, read_before(cohort))
    add(cohort, images, pairs)
    assert (cohort / "images.tsv").is_symlink() and elsewhere.stat().st_mode & 0o777 == 0o640
    assert len(read_images(elsewhere)) == 21
    elsewhere.unlink()
    with pytest.raises(UserError, match="is not a file, or is a broken link"):
        read_before(cohort)


def test_pairs_of_a_set_need_its_column(cohort):
    write_table(cohort / "images.tsv", found(["a", "b"], split="test"))
    write_table(cohort / "pairs.tsv", pd.DataFrame({"moving": ["a"], "fixed": ["b"]}))
    more = pd.DataFrame({"moving": ["b", "a"], "fixed": ["a", "b"], "set": ["", "published"]})
    added = add(cohort, found(["a", "b"], split="test"), more)
    assert (cohort / "pairs.tsv").read_text() == "moving\tfixed\na\tb\nb\ta\n"
    assert "1 pair of set published not added" in added.sentences[0]
    write_table(cohort / "pairs.tsv", more.iloc[:1])
    for expected in (2, 0):
        twice = pd.concat([more, more.iloc[1:]])  # a published list may have a pair more than once
        assert add(cohort, found(["a", "b"], split="test"), twice).new_pairs == expected


def test_as_many_pairs_as_there_are_where_some_are_there(cohort):
    before = read_before(cohort)
    test = before.images[before.images["split"] == "test"]
    more = pd.concat([test, found(["t"], split="test")], ignore_index=True)
    pairs = draw_pairs(more, 1000, 1, before)
    assert len(pairs) == 5 and all("t" in pair for pair in pairs.itertuples(index=False))
