"""Who is trained on, who is tested, and on which pairs: all from one seed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cohortreg.errors import UserError
from cohortreg.files import digest


def generator(seed: int, *identifiers: str) -> np.random.Generator:
    """A random generator of its own for the seed and whatever the identifiers name."""
    return np.random.default_rng(int(digest(str(seed), *identifiers)[:32], 16))


def choose_test_subjects(subjects: Sequence[str], count: int, seed: int) -> set[str]:
    """`count` of the subjects: those whose names come first when hashed with the seed."""
    return set(sorted(set(subjects), key=lambda subject: digest(str(seed), "split", subject))[:count])


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
            f"{count} pairs are asked for, but {len(ids)} test images make only {len(cross)} of two "
            "subjects; ask for fewer pairs or more test subjects."
        )
    drawn = random.choice(cross, size=count, replace=False)
    ordered = np.stack([one[drawn], other[drawn]])
    ordered = np.where(random.random(count) < 0.5, ordered, ordered[::-1])
    return pd.DataFrame({"moving": ids[ordered[0]], "fixed": ids[ordered[1]]}, dtype=str)
