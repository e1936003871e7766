"""Which shard an image or a pair belongs to."""

from cohortreg.files import digest


def shard_of(*ids: str, shards: int) -> int:
    """The shard, from 0, of an image (one id) or a pair (moving, fixed), out of `shards`.

    It follows from the ids alone, so that rows added elsewhere in a table move nothing.
    """
    return int(digest(*ids)[:16], 16) % shards
