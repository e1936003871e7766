"""The split into training and test subjects, and the test pairs, all drawn from one seed."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from cohortreg.cohort.tables import with_sets
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before
from cohortreg.importers.folders import counted
from cohortreg.importers.registry import Draw


def generator(seed: int, *identifiers: str) -> np.random.Generator:
    """Return a random generator of its own for the seed and whatever the identifiers name."""
    return np.random.default_rng(int(digest(str(seed), *identifiers)[:32], 16))


def choose_subjects(subjects: Collection[str], count: int, seed: int) -> set[str]:
    """Choose `count` of the subjects: those whose names come first when hashed with the seed."""
    return set(sorted(set(subjects), key=lambda subject: digest(str(seed), "split", subject))[:count])


def splits_in_words(counts: Mapping[str, int]) -> str:
    """Say how many images each split has, such as "22 train, 8 test"; validation only where it has any."""
    return ", ".join(
        f"{counts.get(split, 0)} {split}"
        for split in ("train", "validation", "test")
        if split != "validation" or counts.get(split, 0)
    )


def drawn(images: pd.DataFrame, draw: Draw, before: Before = NOTHING) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the splits of imported images and the pairs to add; what is in the tables `before` stays.

    Where two subjects have labels, test and validation subjects and pairs are drawn among those who have one. See
    `with_splits` and `new_pairs`.

    Args:
        images: Rows with the names of the cohort, see `recognised`.
        draw: Parts of the subjects, number of pairs, seed.
        before: The cohort's tables.

    Raises:
        UserError: There are no pairs yet, and the images make none.
    """
    measured = images["label"] != ""
    if images["subject_id"][measured].nunique() < 2:
        measured[:] = True
    subjects = images["subject_id"][measured]
    number = subjects.nunique()
    tested = max(2, round(draw.test_fraction * number))  # one would make no pair
    validation = round(draw.validation_fraction * number)
    images = with_splits(images, tested, draw.seed, before, among=subjects, validation=validation)
    test = images[images["split"].eq("test") & measured]
    if not before.pairs.empty:
        return images, new_pairs(test, draw.pairs, draw.seed, before)
    same = test["subject_id"].value_counts()
    possible = (len(test) * (len(test) - 1) - int((same * (same - 1)).sum())) // 2
    if not possible:
        raise UserError(
            f"{counted(len(test), 'test image')} of {counted(len(same), 'subject')} make no pair of two subjects; "
            "import images of more subjects."
        )
    return images, draw_pairs(test, min(draw.pairs, possible), draw.seed)


def with_splits(
    images: pd.DataFrame,
    count: int,
    seed: int,
    before: Before = NOTHING,
    among: Collection[str] | None = None,
    validation: int = 0,
) -> pd.DataFrame:
    """Return images with their splits, by subject; what is in the tables already stays as it is.

    New images of a subject that is there follow the others: train if any of them is, else validation, else test. Of new
    subjects as many become test subjects as `count` are more than there are, those whose names come first when hashed
    with the seed; after them come validation subjects, in the same way.

    Args:
        images: Rows image_id, subject_id.
        count: Number of test subjects.
        seed: The draw follows from it.
        before: The cohort's tables.
        among: The subjects that may be either, all if None.
        validation: Number of validation subjects.
    """
    rows = list(before.images[["image_id", "subject_id", "split"]].itertuples(index=False, name=None))
    splits_before = {image_id: split for image_id, _, split in rows}
    # The last one counts, so that what is trained on comes last.
    known = {
        subject: split
        for _, subject, split in sorted(
            rows, key=lambda row: ("", "test", "validation", "train").index(row[2])
        )
    }
    subjects = images["subject_id"] if among is None else among
    chosen: dict[str, str] = {}
    for split, number in (("test", count), ("validation", validation)):
        has = {subject for subject in images["subject_id"] if known.get(subject) == split}
        new = [subject for subject in subjects if subject not in known and subject not in chosen]
        chosen |= dict.fromkeys(choose_subjects(new, max(0, number - len(has)), seed), split)
    splits = [
        splits_before.get(image_id, known.get(subject, chosen.get(subject, "train")))
        for image_id, subject in zip(images["image_id"], images["subject_id"], strict=True)
    ]
    return images.assign(split=pd.Series(splits, index=images.index, dtype=str))


def new_pairs(images: pd.DataFrame, count: int, seed: int, before: Before = NOTHING) -> pd.DataFrame:
    """Draw pairs of test images (rows image_id, subject_id) that bring those of the main set up to `count`.

    Where there are pairs already, each new one has an image that is new: none is drawn in the place of one that was
    removed. Then they are as many as there are, without any they must be `count`.

    Raises:
        UserError: As by `draw_pairs`.
    """
    if before.pairs.empty:
        return draw_pairs(images, count, seed)
    images = images.sort_values("image_id")
    ids, subjects = images["image_id"].to_numpy(), images["subject_id"].to_numpy()
    new = ~images["image_id"].isin(before.images["image_id"]).to_numpy()
    present = {frozenset(pair) for pair in before.pairs[["moving", "fixed"]].itertuples(index=False)}
    one, other = np.triu_indices(len(ids), k=1)
    possible = np.flatnonzero((subjects[one] != subjects[other]) & (new[one] | new[other]))
    candidates = np.array(
        [n for n in possible if frozenset((ids[one[n]], ids[other[n]])) not in present], dtype=int
    )
    lacking = count - int((with_sets(before.pairs)["set"] == "").sum())
    random = generator(seed, "pairs")
    return _drawn(ids, one, other, candidates, max(0, min(lacking, len(candidates))), random)


def draw_pairs(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Draw `count` pairs of images (rows image_id, subject_id) of different subjects, no two images paired twice.

    Which of the two is moving is drawn as well.

    Raises:
        UserError: There are fewer such pairs.
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
    chosen = random.choice(candidates, size=count, replace=False)
    ordered = np.stack([one[chosen], other[chosen]])
    ordered = np.where(random.random(count) < 0.5, ordered, ordered[::-1])
    return pd.DataFrame({"moving": ids[ordered[0]], "fixed": ids[ordered[1]]}, dtype=str)
