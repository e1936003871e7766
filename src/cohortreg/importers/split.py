"""The split into training and test subjects, and the test pairs, all drawn from one seed."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cohortreg.cohort.tables import with_sets
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before, recognised


def generator(seed: int, *identifiers: str) -> np.random.Generator:
    """A random generator of its own for the seed and whatever the identifiers name."""
    return np.random.default_rng(int(digest(str(seed), *identifiers)[:32], 16))


def choose_subjects(subjects: Collection[str], count: int, seed: int) -> set[str]:
    """`count` of the subjects: those whose names come first when hashed with the seed."""
    return set(sorted(set(subjects), key=lambda subject: digest(str(seed), "split", subject))[:count])


def splits_in_words(counts: Mapping[str, int]) -> str:
    """How many images each split has, such as "22 train, 8 test"; validation only where it has any."""
    return ", ".join(
        f"{counts.get(split, 0)} {split}"
        for split in ("train", "validation", "test")
        if split != "validation" or counts.get(split, 0)
    )


def drawn(
    images: pd.DataFrame,
    count: int,
    pairs: int,
    seed: int,
    before: Before = NOTHING,
    folder: Path = Path(),
    validation: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Imported images under the names of the cohort (see `recognised`) with their splits, and pairs to add.

    See `with_splits` and `new_pairs`; count: of test subjects, at least one. validation: of validation subjects.
    """
    images = recognised(images, before, folder).drop_duplicates("image_id").reset_index(drop=True)
    images = with_splits(images, max(1, count), seed, before, validation=validation)
    return images, new_pairs(images[images["split"] == "test"], pairs, seed, before)


def with_splits(
    images: pd.DataFrame,
    count: int,
    seed: int,
    before: Before = NOTHING,
    among: Collection[str] | None = None,
    validation: int = 0,
) -> pd.DataFrame:
    """Images with their splits, by subject; what is in the tables already stays as it is.

    New images of a subject that is there follow the others: train if any of them is, else validation, else test. Of new
    subjects as many become test subjects as `count` are more than there are, those whose names come first when hashed
    with the seed; after them come validation subjects, in the same way. among: the subjects that may be either, all if
    None.
    """
    rows = list(before.images[["image_id", "subject_id", "split"]].itertuples(index=False, name=None))
    there = {image_id: split for image_id, _, split in rows}
    # The last one counts, so that what is trained on comes last.
    known = {
        subject: split
        for _, subject, split in sorted(
            rows, key=lambda row: ("", "test", "validation", "train").index(row[2])
        )
    }
    subjects = images["subject_id"] if among is None else among
    drawn: dict[str, str] = {}
    for split, asked in (("test", count), ("validation", validation)):
        has = {subject for subject in images["subject_id"] if known.get(subject) == split}
        new = [subject for subject in subjects if subject not in known and subject not in drawn]
        drawn |= dict.fromkeys(choose_subjects(new, max(0, asked - len(has)), seed), split)
    splits = [
        there.get(image_id, known.get(subject, drawn.get(subject, "train")))
        for image_id, subject in zip(images["image_id"], images["subject_id"], strict=True)
    ]
    return images.assign(split=pd.Series(splits, index=images.index, dtype=str))


def new_pairs(images: pd.DataFrame, count: int, seed: int, before: Before = NOTHING) -> pd.DataFrame:
    """Pairs of test images (rows image_id, subject_id) that bring those of the main set up to `count`.

    Where there are pairs already, each new one has an image that is new: none is drawn in the place of one that was
    removed. Then they are as many as there are, without any they must be `count`: else UserError, as by `draw_pairs`.
    """
    if before.pairs.empty:
        return draw_pairs(images, count, seed)
    images = images.sort_values("image_id")
    ids, subjects = images["image_id"].to_numpy(), images["subject_id"].to_numpy()
    new = ~images["image_id"].isin(before.images["image_id"]).to_numpy()
    there = {frozenset(pair) for pair in before.pairs[["moving", "fixed"]].itertuples(index=False)}
    one, other = np.triu_indices(len(ids), k=1)
    possible = np.flatnonzero((subjects[one] != subjects[other]) & (new[one] | new[other]))
    candidates = np.array(
        [n for n in possible if frozenset((ids[one[n]], ids[other[n]])) not in there], dtype=int
    )
    asked = count - int((with_sets(before.pairs)["set"] == "").sum())
    random = generator(seed, "pairs")
    return _drawn(ids, one, other, candidates, max(0, min(asked, len(candidates))), random)


def draw_pairs(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` pairs of images (rows image_id, subject_id) of different subjects, no two images paired twice.

    Which of the two is moving is drawn as well. Raises UserError where there are fewer such pairs.
    """
    images = images.sort_values("image_id")
    ids, subjects = images["image_id"].to_numpy(), images["subject_id"].to_numpy()
    random = generator(seed, "pairs")
    one, other = np.triu_indices(len(ids), k=1)
    cross = np.flatnonzero(subjects[one] != subjects[other])
    if count > len(cross):
        raise UserError(
            f"{count} pairs were requested, but {len(ids)} test images make only {len(cross)} of two "
            "subjects; request fewer pairs or add test subjects."
        )
    return _drawn(ids, one, other, cross, count, random)


def _drawn(
    ids: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    candidates: np.ndarray,
    count: int,
    random: np.random.Generator,
) -> pd.DataFrame:
    """`count` of the candidates, which are places in `one` and `other`: of the two images of a pair, in `ids`."""
    drawn = random.choice(candidates, size=count, replace=False)
    ordered = np.stack([one[drawn], other[drawn]])
    ordered = np.where(random.random(count) < 0.5, ordered, ordered[::-1])
    return pd.DataFrame({"moving": ids[ordered[0]], "fixed": ids[ordered[1]]}, dtype=str)
