"""The shards of images and pairs, and the inputs that a shard was made from."""

import errno
import stat
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cohortreg.cohort.tables import pair_ids, read_table
from cohortreg.detached import referred
from cohortreg.digests import digest
from cohortreg.errors import BadImage, UserError
from cohortreg.inputs import files_of


def shard_of(*ids: str, shards: int) -> int:
    """Return the shard, from 0, of an image (one id) or a pair (moving, fixed), out of `shards`.

    It follows from the ids alone, so that rows added elsewhere in a table move nothing.
    """
    return int(digest(*ids)[:16], 16) % shards


def pair_shards(pairs: pd.DataFrame, shards: int) -> pd.Series:
    """Return the shard of each row of a table of pairs, with the table's index."""
    return pd.Series([shard_of(*ids, shards=shards) for ids in pair_ids(pairs)], pairs.index, dtype=int)


def shards_of(pairs: pd.DataFrame, shards: int) -> list[int]:
    """Return the shards, out of `shards`, that any row of a table of pairs belongs to; others are never asked for."""
    used: set[int] = set()
    for ids in pair_ids(pairs):
        used.add(shard_of(*ids, shards=shards))
        if len(used) == shards:  # after a few thousand of a million
            break
    return sorted(used)


def row_digest(row: Mapping[str, str], root: Path | None) -> str:
    """Return a digest of what preprocessing reads: an image's row, and the size and time of its files below root.

    The time as well, since a file that took another's place may be older than what was made of that. Without a root
    the files do not count.
    """
    cells = [row[column] for column in ("image_id", "side", "image", "label")]
    paths = [root / row[column] for column in ("image", "label") if row[column]] if root else []
    return digest(*cells, *map(_state, paths))


def _state(path: Path) -> str:
    """Name, size and time of each file that an image consists of; of one that cannot be read, whatever can be told.

    Nothing is raised: it is for what reads the image to say what is wrong with it.
    """
    try:
        facts = path.stat()
        if stat.S_ISREG(facts.st_mode) and not referred(path):  # as of nearly all of a hundred thousand
            return f"{path.name} {facts.st_size} {facts.st_mtime_ns}"
        files = files_of(path)
    except (BadImage, OSError, ValueError):
        files = [path]
    return "\n".join(f"{file.name} {_size_and_time(file)}" for file in files)


def _size_and_time(path: Path) -> str:
    """Bytes and nanoseconds, since a file may be replaced by another of its size within a second."""
    try:
        facts = path.stat()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "")
    except ValueError:  # a zero byte in its name
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def rows_made(index: Path) -> set[str]:
    """Read the `row_digest` of each image in a shard's index; none where it is missing, damaged or older."""
    try:
        return set(read_table(index, ["row"])["row"])
    except UserError:
        return set()


def shard_rows(images: pd.DataFrame, shard: int, shards: int) -> pd.DataFrame:
    """Return the rows of `images` that belong to a shard (from 0)."""
    return images[[shard_of(image_id, shards=shards) == shard for image_id in images["image_id"]]]
