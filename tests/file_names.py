"""Names of files as file systems allow them, and what an importer may do with them."""

import os
from pathlib import Path

from hypothesis import strategies as st

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.errors import UserError
from cohortreg.importers.additions import add


def _allowed(name: str) -> bool:
    return len(os.fsencode(name)) <= 240


#: Any bytes but separators and NUL, mostly such as people and programs use.
FILE_NAMES = st.one_of(
    st.text(st.sampled_from("ab01 \t\n\r'\"#-._+&$%\\\u00e4\u0301\u2028\ufeff\x85"), min_size=1, max_size=8),
    st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.binary(min_size=1, max_size=8).map(os.fsdecode).filter(lambda name: not set("/\x00") & set(name)),
).filter(_allowed)


def accepted(folder: Path, imported, number: int) -> None:
    """An importer's tables are such as the workflow reads, with every file in them or in what it said.

    imported: makes both tables, given what is to be called with each sentence. number: of the files. A folder that
    cannot be imported ends in a sentence.
    """
    said: list[str] = []
    try:
        images, pairs = imported(said.append)
        add(folder / "tables", images, pairs)
    except UserError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        assert not (folder / "tables").exists()
        return
    table = read_images(folder / "tables" / "images.tsv")
    read_pairs(folder / "tables" / "pairs.tsv", table)
    assert table.reset_index(drop=True).equals(images)
    assert all((folder / path).exists() for path in images["image"])
    assert len(images) == number or any(sentence.startswith("Left out: ") for sentence in said)
    assert not any("\n" in sentence for sentence in said)
    "".join(said).encode()
