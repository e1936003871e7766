import numpy as np

from cohortreg.cohort.shards import shard_of


def test_shard_follows_from_the_ids_alone():
    # SHA-256 of the length-prefixed ids, worked out once: an update must not move images between shards.
    assert [shard_of(f"image-{n}", shards=4) for n in range(6)] == [1, 2, 2, 2, 0, 3]
    assert shard_of("a", "b", shards=1000) != shard_of("b", "a", shards=1000)
    assert shard_of("ab", "c", shards=1000) != shard_of("a", "bc", shards=1000)


def test_shards_are_about_even():
    counts = np.bincount([shard_of(f"image-{n}", shards=8) for n in range(4000)], minlength=8)
    assert len(counts) == 8
    assert counts.min() > 420 and counts.max() < 580
