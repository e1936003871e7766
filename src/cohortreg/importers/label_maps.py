"""Tables of a cohort whose images the workflow generates from label maps of real people."""

import re
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.additions import NOTHING, Before
from cohortreg.importers.folders import (
    Say,
    check_folder,
    fits_a_table,
    images_below,
    is_identifier,
    left_out,
    repeated,
    silent,
)
from cohortreg.importers.split import drawn

#: A label map's file name: subject and visit, as in 9001104_00m_label.nii.gz.
NAME = re.compile(r"(?P<subject>[^_]+)_(?P<visit>[^_]+)_label\.nii(\.gz)?")
LONGITUDINAL = "longitudinal"


def import_label_maps(
    folder: Path,
    side: str,
    test_fraction: float,
    pairs: int,
    seed: int,
    before: Before = NOTHING,
    say: Say = silent,
    validation_fraction: float = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs for the label maps in a folder, named {subject}_{visit}_label.nii[.gz].

    Paths are those that `make_phantoms` writes to. `test_fraction` of the subjects, at least one, are test subjects,
    and `validation_fraction` validation subjects. `pairs` pairs of two test subjects are drawn; besides, each test
    subject's visits, one after the other in the order of their names, are pairs of the set "longitudinal". What is in
    the tables `before` stays, see `split.drawn`; pairs of visits are added where one of the two is new. say: called
    with a sentence for each kind of file that is not used.

    Raises UserError where no file has such a name, or there are not as many pairs.
    """
    check_folder(folder)
    files = images_below(folder)
    named = [(match, path) for path in files if (match := NAME.fullmatch(path)) and _is_named(match)]
    used = {path for _, path in named}
    for sentence in left_out(
        [path for path in files if path not in used],
        "file",
        "not named SUBJECT_VISIT_label.nii.gz, or not right in the folder",
    ):
        say(sentence)
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
                "label": f"labels/{path}",
                "visit": match["visit"],
            }
            for match, path in named
        ],
        dtype=str,
    )
    if twice := repeated(images["image_id"]):
        raise UserError(f"{folder} has two label maps of '{twice}'; remove or rename one.")
    subjects = images["subject_id"].nunique()
    tested, validation = (round(fraction * subjects) for fraction in (test_fraction, validation_fraction))
    images, across = drawn(images, tested, pairs, seed, before, validation=validation)
    visits = _longitudinal(images[images["split"] == "test"])
    new = ~visits[["moving", "fixed"]].isin(before.images["image_id"].tolist()).all(axis=1)
    return images, pd.concat([across.assign(set=""), visits[new]], ignore_index=True)


def _is_named(match: re.Match) -> bool:
    """Whether a table can hold the subject and the visit."""
    return is_identifier(f"{match['subject']}_{match['visit']}") and fits_a_table(match[0])


def _longitudinal(images: pd.DataFrame) -> pd.DataFrame:
    """Each subject's visits, one after the other: the earlier is moved onto the later."""
    visits = images.sort_values("image_id").groupby("subject_id")["image_id"].agg(list)
    following = [pair for ids in visits for pair in pairwise(ids)]
    return pd.DataFrame(following, columns=["moving", "fixed"], dtype=str).assign(set=LONGITUDINAL)
