"""Tables of a cohort whose images the workflow makes from label maps of real people."""

import re
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cohortreg.cohort.split import choose_test_subjects, draw_pairs
from cohortreg.errors import UserError

#: A label map's file name: subject and visit, as in 9001104_00m_label.nii.gz.
NAME = re.compile(r"(?P<subject>[^_]+)_(?P<visit>[^_]+)_label\.nii(\.gz)?")
LONGITUDINAL = "longitudinal"


def import_label_maps(
    folder: Path, side: str, test_fraction: float, pairs: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs for the label maps in a folder, named {subject}_{visit}_label.nii[.gz].

    Paths are those that `make_phantoms` writes to. `test_fraction` of the subjects, at least one, are test subjects.
    `pairs` pairs of two of them are drawn; besides, each test subject's visits, one after the other in the order of
    their names, are pairs of the set "longitudinal".

    Raises UserError where no file has such a name, or there are not as many pairs.
    """
    named = [(match, path) for path in sorted(folder.glob("*")) if (match := NAME.fullmatch(path.name))]
    if not named:
        raise UserError(
            f"{folder} has no label map named SUBJECT_VISIT_label.nii.gz; give the folder that has them."
        )
    images = pd.DataFrame(
        [
            {
                "image_id": f"{match['subject']}_{match['visit']}",
                "subject_id": match["subject"],
                "side": side,
                "split": "train",
                "image": f"images/{match['subject']}_{match['visit']}.nii.gz",
                "label": f"labels/{path.name}",
                "visit": match["visit"],
            }
            for match, path in named
        ],
        dtype=str,
    )
    count = max(1, round(test_fraction * images["subject_id"].nunique()))
    tested = images["subject_id"].isin(choose_test_subjects(images["subject_id"], count, seed))
    images.loc[tested, "split"] = "test"
    across = draw_pairs(images[tested], pairs, seed).assign(set="")
    return images, pd.concat([across, _longitudinal(images[tested])], ignore_index=True)


def _longitudinal(images: pd.DataFrame) -> pd.DataFrame:
    """Each subject's visits, one after the other: the earlier is moved onto the later."""
    visits = images.sort_values("image_id").groupby("subject_id")["image_id"].agg(list)
    following = [pair for ids in visits for pair in pairwise(ids)]
    return pd.DataFrame(following, columns=["moving", "fixed"], dtype=str).assign(set=LONGITUDINAL)
