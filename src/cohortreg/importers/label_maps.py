"""Tables of a cohort whose images the workflow generates from label maps of real people."""

import re
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.folders import Say, can_be_listed, check_folder, images_below, left_out, silent
from cohortreg.importers.found import Found, image_row, image_table

#: A label map's file name: subject and visit, as in 9001104_00m_label.nii.gz.
NAME = re.compile(r"(?P<subject>[^_]+)_(?P<visit>[^_]+)_label\.nii(\.gz)?")
LONGITUDINAL = "longitudinal"


def import_label_maps(folder: Path, say: Say = silent, side: str = "right") -> Found:
    """Read the label maps in a folder, named {subject}_{visit}_label.nii[.gz].

    Paths are those that `make_phantoms` writes to. Besides the pairs that are drawn, each test subject's visits, one
    after the other in the order of their names, are pairs of the set "longitudinal".

    Args:
        side: Of all knees, "left" or "right".

    Raises:
        UserError: No file has such a name.
    """
    check_folder(folder)
    rows, others = [], []
    for path in images_below(folder):
        match = NAME.fullmatch(path)
        subject, visit = match.group("subject", "visit") if match else ("", "")
        name = f"{subject}_{visit}"
        if match and can_be_listed(name, path):
            row = image_row(name, f"images/{name}.nii.gz", f"labels/{path}", subject, side)
            rows.append(row | {"visit": visit})
        else:
            others.append(path)
    why = "not named SUBJECT_VISIT_label.nii.gz, or not right in the folder"
    for sentence in left_out(others, "file", why):
        say(sentence)
    if not rows:
        raise UserError(
            f"{folder} has no label map named SUBJECT_VISIT_label.nii.gz; give the folder that has them."
        )
    images = image_table(rows, folder)
    return Found(images, None, further=_longitudinal(images))


def _longitudinal(images: pd.DataFrame) -> pd.DataFrame:
    """Each subject's visits, one after the other: the earlier is moved onto the later."""
    visits = images.sort_values("image_id").groupby("subject_id")["image_id"].agg(list)
    following = [pair for ids in visits for pair in pairwise(ids)]
    return pd.DataFrame(following, columns=["moving", "fixed"], dtype=str).assign(set=LONGITUDINAL)
