"""Ratings: the table of a report is read as strictly as the others."""

import pytest

from cohortreg.cohort.ratings import rated_out
from cohortreg.cohort.tables import read_ratings
from cohortreg.errors import UserError

HEADER = "moving\tfixed\trating\tnote"


@pytest.fixture
def write(tmp_path):
    def write(*lines: str):
        path = tmp_path / "qc.tsv"
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["moving\tfixed\tnote", "a\tb\t"], r"qc\.tsv has no column rating"),
        ([HEADER, "a\tb\tgood\t", "a\tc\tawful\t"], r"qc\.tsv, row 3, column rating: 'awful' is not allowed"),
        ([HEADER, "a\t\tgood\t"], r"qc\.tsv, row 2, column fixed: is empty"),
        (
            [HEADER, "a\tb\tgood\t", "a\tb\tbad\t"],
            r"qc\.tsv, row 3: moving 'a', fixed 'b' is already in row 2",
        ),
    ],
)
def test_a_wrong_table_is_one_sentence_with_file_row_and_column(write, lines, words):
    with pytest.raises(UserError, match=words):
        read_ratings(write(*lines))


def test_a_file_that_is_not_there_says_where_it_comes_from(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.tsv does not exist; .* save it in a report"):
        read_ratings(tmp_path / "nothing.tsv")


def test_a_table_may_have_no_rows_no_notes_and_other_columns(write):
    assert read_ratings(write(HEADER)).empty
    ratings = read_ratings(write("fixed\twho\tmoving\trating", "b\tme\ta\tgood"))
    assert ratings.to_dict("records") == [{"moving": "a", "fixed": "b", "rating": "good", "note": ""}]


def test_many_unknown_pairs_are_counted_and_a_few_named(write):
    rows = [f"x{number}\ty\tgood\t" for number in range(7)]
    pairs = read_ratings(write(HEADER, "a\tb\tbad\t"))[["moving", "fixed"]]
    reasons, (warning,) = rated_out(write(HEADER, "a\tb\tbad\tfolded", *rows), ["bad"], pairs)
    assert reasons == {("a", "b"): "rated bad: folded"}
    assert "rates 7 pairs that the cohort does not have (x0 y, x1 y, x2 y, x3 y, x4 y, ...)" in warning
