"""Tables of a cohort whose images the workflow generates from label maps of real people."""

import re
from itertools import pairwise
from pathlib import Path

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.folders import (
    Say,
    check_folder,
    fits_a_table,
    images_below,
    is_identifier,
    left_out,
    silent,
)
from cohortreg.importers.found import Found, image_row, image_table

#: A label map's file name: subject and visit, as in 9001104_00m_label.nii.gz.
NAME = re.compile(r"(?P<subject>[^_]+)_(?P<visit>[^_]+)_label\.nii(\.gz)?")
LONGITUDINAL = "longitudinal"


def import_label_maps(folder: Path, say: Say = silent, side: str = "right") -> Found:
    """Read the label maps in a folder, named {subject}_{visit}_label.nii[.gz].

    Paths are those that `make_phantoms` writes to. Besides the pairs that are drawn, each test subject's visits, one
    after the other in the order of their names, are pairs of the set "longitudinal".

    Args:
        folder: The one with the label maps.
        say: Called with a sentence for each kind of file that is not used.
        side: Of all knees, "left" or "right".

    Raises:
        UserError: No file has such a name.
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
    rows = []
    for match, path in named:
        name = f"{match['subject']}_{match['visit']}"
        row = image_row(name, f"images/{name}.nii.gz", f"labels/{path}", match["subject"], side)
        rows.append(row | {"visit": match["visit"]})
    images = image_table(rows, folder)
    return Found(images, None, further=_longitudinal(images))


def _is_named(match: re.Match[str]) -> bool:
    """Whether a table can hold the subject and the visit."""
    return is_identifier(f"{match['subject']}_{match['visit']}") and fits_a_table(match[0])


def _longitudinal(images: pd.DataFrame) -> pd.DataFrame:
    """Each subject's visits, one after the other: the earlier is moved onto the later."""
    visits = images.sort_values("image_id").groupby("subject_id")["image_id"].agg(list)
    following = [pair for ids in visits for pair in pairwise(ids)]
    return pd.DataFrame(following, columns=["moving", "fixed"], dtype=str).assign(set=LONGITUDINAL)
