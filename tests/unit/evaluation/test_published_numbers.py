"""Published results."""

from pathlib import Path

import pytest

from cohortreg.errors import UserError
from cohortreg.evaluation.published_numbers import read_published

RESOURCES = Path(__file__).parents[3] / "resources" / "paper"


def test_table_2_has_every_row_of_the_paper():
    table = read_published(RESOURCES / "table2.csv")
    assert table.index.tolist() == [
        *("demons", "syn", "niftyreg-nmi", "niftyreg-lncc", "vsvf-opt"),
        *("voxelmorph", "voxelmorph-affine", "avsm", "icon-4step", "icon-3step", "icon-2step"),
    ]
    assert table.loc["icon-4step"].to_dict() == {
        "dice_published": pytest.approx(0.6829),
        "folds_published": 118.4,
        "time_s_published": 1.06,
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be used: .*No such file"),
        ("row,dice,folds\na,1,2\n", "it has no column time_s"),
        ("row,dice,folds,time_s\na,1,2,3\na,1,2,3\n", "it names the row a twice"),
        ("row,dice,folds,time_s\na,1,two,3\n", "two"),
        ("", "cannot be used"),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(tmp_path, content, words):
    path = tmp_path / "published.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=f"^report.published: .*published.csv .*{words}.*; correct the table"):
        read_published(path)
