"""Which shard an image or a pair belongs to, and what a shard was made of."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cohortreg.cohort.tables import read_table
from cohortreg.errors import UserError
from cohortreg.files import digest, entries
from cohortreg.layout import Layout


def shard_of(*ids: str, shards: int) -> int:
    """The shard, from 0, of an image (one id) or a pair (moving, fixed), out of `shards`.

    It follows from the ids alone, so that rows added elsewhere in a table move nothing.
    """
    return int(digest(*ids)[:16], 16) % shards


def pair_shards(pairs: pd.DataFrame, shards: int) -> pd.Series:
    """The shard of each row of a table of pairs, with the table's index."""
    found = [shard_of(*pair, shards=shards) for pair in zip(pairs["moving"], pairs["fixed"], strict=True)]
    return pd.Series(found, index=pairs.index, dtype=int)


def row_digest(row: Mapping[str, str], root: Path | None) -> str:
    """Digest of what preprocessing reads: an image's row, and the size and time of the files that it names below root.

    The time as well, since a file that took another's place may be older than what was made of that. Without a root
    the files do not count.
    """
    cells = [row[column] for column in ("image_id", "side", "image", "label")]
    paths = [root / row[column] for column in ("image", "label") if row[column]] if root else []
    return digest(*cells, *map(_state, paths))


def _state(path: Path) -> str:
    """Size and time of a file, or of each in a folder; "" where there is none."""
    if path.is_dir():
        return "\n".join(f"{entry.name} {_size_and_time(entry.stat())}" for entry in entries(path))
    return _size_and_time(path.stat()) if path.exists() else ""


def _size_and_time(stat: os.stat_result) -> str:
    return f"{stat.st_size} {int(stat.st_mtime)}"


def rows_made(index: Path) -> set[str]:
    """The `row_digest` of each image in a shard's index; none where it is missing, damaged or of an earlier version."""
    try:
        return set(read_table(index, ["row"])["row"])
    except UserError:
        return set()


def still_asked(layout: Layout, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs that the cohort has. A shard keeps a pair that was removed, so that nothing follows from it."""
    asked = read_table(layout.pairs, ["moving", "fixed"], "`cohortreg cohort`")[["moving", "fixed"]]
    return pairs.merge(asked.drop_duplicates(), on=["moving", "fixed"])
