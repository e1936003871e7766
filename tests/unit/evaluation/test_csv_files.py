"""The project's CSV files, written and read again."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table


def test_rounding_errors_of_zero_are_zero(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"method": ["m"], "folds": [3], "error": [4.3e-15]}))
    assert (tmp_path / "t.csv").read_text() == "method,folds,error\nm,3,0\n"


def test_p_values_are_written_however_small(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"p_value": [3.21e-18]}))
    assert (tmp_path / "t.csv").read_text() == "p_value\n3.21e-18\n"


TEXTS = st.text(
    st.characters(exclude_characters="\r", exclude_categories=["Cs"]), max_size=8
) | st.sampled_from(
    ["NA", "nan", "1e5", "001", " a ", '"', '"a', "a,b", "\n", "-", "é", "e\u0301", "👩", "=1+1"]
)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.floats(0, 1) | st.just(math.nan)), max_size=5))
def test_names_and_reasons_are_read_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "pairs.csv"
    table = pd.DataFrame(rows, columns=["moving", "fixed", "failure", "dice_mean"])
    write_table(path, table)
    again = read_table(path, ["moving", "dice_mean"])
    texts = ["moving", "fixed", "failure"]
    assert again[texts].values.tolist() == table[texts].values.tolist()


HEAD = "moving,fixed,failure,dice_mean\n"
CUT = ["", "moving,fixed,fail", "moving\n", "\xff\n"]
CUT += [HEAD + rows for rows in ("a,b,,0.", "a,b,,0.x\n", '"a,b,,0.5\n', "a,b,,0.5,1\n,,,,,,\n")]


@pytest.mark.parametrize("content", CUT)
def test_a_damaged_table_says_what_makes_it_anew(tmp_path, content):
    path = tmp_path / "0.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"0.csv .*; delete it and run `cohortreg x` again") as error:
        read_table(path, ["moving", "fixed", "failure"], "`cohortreg x`")
    assert "\n" not in str(error.value)
