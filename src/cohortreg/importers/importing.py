"""What every import does: names as the cohort has them, splits and pairs, and rows added to the tables."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from cohortreg.cohort.tables import with_sets
from cohortreg.files import check_writable
from cohortreg.importers.additions import IMAGES, Added, Before, add, read_before, recognised
from cohortreg.importers.folders import counted
from cohortreg.importers.found import Found
from cohortreg.importers.registry import Draw
from cohortreg.importers.split import drawn


def import_tables(read: Callable[[], Found], output: Path, draw: Draw | None = None) -> Added:
    """Add what is new in a folder to the tables in `output`; what is there stays, see `additions`.

    Args:
        draw: How splits and pairs are drawn, where they do not come with the images.

    Raises:
        UserError: A table cannot be read or written, or two subjects make no pair; no table is then changed.
    """
    check_writable(output / IMAGES)  # before what may be an hour's work
    before = read_before(output)
    found = read()
    images, pairs, others = complete(found, before, draw or Draw())
    added = add(output, images, pairs, found.root, others, found.lists_missing)
    number = int((with_sets(added.pairs)["set"] == "").sum())
    if draw and found.pairs is None and number < draw.pairs:
        added.sentences.insert(0, _fewer(number, draw.pairs, added))
    return added


def complete(
    found: Found, before: Before, draw: Draw
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return images, pairs and other tables that an importer found with the names of the cohort, splits and pairs."""
    images = recognised(found.images, before, found.root or Path())
    names = dict(zip(found.images["image_id"], images["image_id"], strict=True))
    images = images.drop_duplicates("image_id").reset_index(drop=True)
    if found.pairs is None:
        images, pairs = drawn(images, draw, before)
    else:
        pairs = _renamed(found.pairs, names)
    if found.further is not None:
        further = _renamed(found.further, names)
        tested = further[["moving", "fixed"]].isin(images["image_id"][images["split"] == "test"].tolist())
        known = further[["moving", "fixed"]].isin(before.images["image_id"].tolist())
        further = further[tested.all(axis=1) & ~known.all(axis=1)]
        pairs = pd.concat([pairs.assign(set=""), further], ignore_index=True)
    return images, pairs, {name: _renamed(table, names) for name, table in found.others.items()}


def _renamed(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """A table with the cohort's names of its images."""
    columns = [column for column in ("moving", "fixed", "image_id") if column in table]
    return table.assign(**{column: table[column].map(names) for column in columns})


def _fewer(number: int, asked: int, added: Added) -> str:
    """Say why there are fewer pairs than `--pairs`."""
    tested = int((added.images["split"] == "test").sum())
    why = f"{counted(tested, 'test image')} make no more; a larger --test-fraction makes more."
    if len(added.pairs) > added.new_pairs:
        why = (
            "where there are pairs, only new test images get more; to have all drawn anew, move pairs.tsv elsewhere "
            "and import again."
        )
    return f"{counted(number, 'pair')}, not {asked:,}: {why}"
