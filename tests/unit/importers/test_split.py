import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortreg.errors import UserError
from cohortreg.importers.split import choose_subjects, draw_pairs, generator

SUBJECTS = [f"s{n}" for n in range(40)]


def cohort(images_of_each: list[int]) -> pd.DataFrame:
    rows = [(f"s{s}-{n}", f"s{s}") for s, images in enumerate(images_of_each) for n in range(images)]
    return pd.DataFrame(rows, columns=["image_id", "subject_id"], dtype=str)


def test_generators_are_of_seed_and_identifier():
    draws = {generator(seed, name).random() for seed in (1, 2) for name in ("a", "b")}
    assert len(draws) == 4
    assert generator(1, "a").random() == generator(1, "a").random()


def test_test_subjects():
    chosen = choose_subjects(SUBJECTS, 8, seed=1)
    assert len(chosen) == 8 and chosen < set(SUBJECTS)
    assert choose_subjects(SUBJECTS[::-1], 8, seed=1) == chosen
    assert choose_subjects(SUBJECTS, 8, seed=2) != chosen


def test_subject_added_later_takes_at_most_its_own_place():
    before = choose_subjects(SUBJECTS, 8, seed=1)
    assert len(before - choose_subjects([*SUBJECTS, "new"], 8, seed=1)) <= 1


@given(st.lists(st.integers(1, 3), min_size=3, max_size=8), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_pairs_are_cross_subject_and_never_twice(images_of_each, seed):
    images = cohort(images_of_each)
    subject = dict(images.itertuples(index=False))
    total = sum(images_of_each)
    possible = (total**2 - sum(n**2 for n in images_of_each)) // 2
    pairs = draw_pairs(images, possible, seed)
    assert len({frozenset(pair) for pair in pairs.itertuples(index=False)}) == possible
    assert all(subject[pair.moving] != subject[pair.fixed] for pair in pairs.itertuples())
    with pytest.raises(UserError, match=f"only {possible}"):
        draw_pairs(images, possible + 1, seed)


def test_pairs_follow_from_the_seed_not_from_the_order_of_rows():
    images = cohort([1] * 20)
    pairs = draw_pairs(images, 30, seed=3)
    pd.testing.assert_frame_equal(draw_pairs(images[::-1], 30, seed=3), pairs)
    assert not draw_pairs(images, 30, seed=4).equals(pairs)
    # Both directions come up.
    assert 5 < (pairs["moving"] < pairs["fixed"]).sum() < 25
