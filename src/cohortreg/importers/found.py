"""What an importer returns."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.importers.folders import repeated


class Found(NamedTuple):
    """What an importer found.

    Attributes:
        images: Rows of images.tsv, see `image_table`.
        root: Folder that the paths start from; None where the files are yet to be made.
        pairs: Pairs that come with the images, as their splits do; None where both are to be drawn.
        further: Pairs of further sets, of which those of two test images are added where one of these is new.
        others: Further tables by file name; a column image_id in them names images.
        lists_missing: Whether one of `others` lists the files that are not there.
    """

    images: pd.DataFrame
    root: Path | None
    pairs: pd.DataFrame | None = None
    further: pd.DataFrame | None = None
    others: Mapping[str, pd.DataFrame] = {}
    lists_missing: bool = False


def image_row(
    image_id: str, image: str, label: str = "", subject_id: str = "", side: str = "", split: str = ""
) -> dict[str, str]:
    """Return a row of images.tsv; without a subject_id, the image is the only one of its subject."""
    return {
        "image_id": image_id,
        "subject_id": subject_id or image_id,
        "side": side,
        "split": split,
        "image": image,
        "label": label,
    }


def image_table(rows: Sequence[Mapping[str, str]], source: Path) -> pd.DataFrame:
    """Return the table of images.

    Raises:
        UserError: Two images have one name; source: where they were found, for the sentence.
    """
    images = pd.DataFrame(rows, dtype=str)
    if twice := repeated(images["image_id"]):
        raise UserError(f"{source} has two images '{twice}'; remove or rename one.")
    return images
