"""Which shard an image or a pair belongs to."""

import pandas as pd

from cohortreg.files import digest
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


def still_asked(layout: Layout, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs that the cohort has. A shard keeps a pair that was removed, so that nothing follows from it."""
    asked = pd.read_csv(layout.pairs, sep="\t", dtype=str, keep_default_na=False)[["moving", "fixed"]]
    return pairs.merge(asked, on=["moving", "fixed"])
