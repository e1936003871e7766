"""The split into training and test subjects, and the test pairs, all drawn from one seed."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from cohortreg.cohort.tables import pair_ids, with_sets
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before
from cohortreg.importers.folders import counted
from cohortreg.importers.registry import Draw

#: Of the splits of a subject's images the last is that of new ones.
ORDER = ["", "test", "validation", "train"]


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
    `with_splits` and `draw_pairs`.

    Args:
        images: Rows with the names of the cohort, see `recognised`.

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
        return images, draw_pairs(test, draw.pairs, draw.seed, before)
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
        among: The subjects that may be either, all if None.
        validation: Number of validation subjects.
    """
    splits_before = dict(zip(before.images["image_id"], before.images["split"], strict=True))
    # The last one counts, so that what is trained on comes last.
    last = before.images.sort_values("split", key=lambda splits: splits.map(ORDER.index))
    known = dict(zip(last["subject_id"], last["split"], strict=True))
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


def draw_pairs(images: pd.DataFrame, count: int, seed: int, before: Before = NOTHING) -> pd.DataFrame:
    """Draw `count` pairs of images (rows image_id, subject_id) of different subjects, no two images paired twice.

    Which of the two is moving is drawn as well. Where there are pairs already, those drawn bring those of the main set
    up to `count`, as far as there are any, and each has an image that is new: none takes the place of a removed one.

    Raises:
        UserError: There are fewer such pairs, and none before.
    """
    images = images.sort_values("image_id")
    ids, subjects = images["image_id"].to_numpy(), images["subject_id"].to_numpy()
    one, other = np.triu_indices(len(ids), k=1)
    cross = subjects[one] != subjects[other]
    if before.pairs.empty:
        candidates = np.flatnonzero(cross)
        if count > len(candidates):
            raise UserError(
                f"{count} pairs were requested, but {len(ids)} test images make only {len(candidates)} of two "
                "subjects; request fewer pairs or add test subjects."
            )
    else:
        new = ~images["image_id"].isin(before.images["image_id"]).to_numpy()
        present = set(map(frozenset, pair_ids(before.pairs)))
        possible = np.flatnonzero(cross & (new[one] | new[other]))
        absent = [n for n in possible if frozenset((ids[one[n]], ids[other[n]])) not in present]
        candidates = np.array(absent, dtype=int)
        lacking = count - int((with_sets(before.pairs)["set"] == "").sum())
        count = max(0, min(lacking, len(candidates)))
    random = generator(seed, "pairs")
    chosen = random.choice(candidates, size=count, replace=False)
    ordered = np.stack([one[chosen], other[chosen]])
    ordered = np.where(random.random(count) < 0.5, ordered, ordered[::-1])
    return pd.DataFrame({"moving": ids[ordered[0]], "fixed": ids[ordered[1]]}, dtype=str)
