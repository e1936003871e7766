"""Import of a folder in the layout of the Medical Segmentation Decathlon (Antonelli et al., 2022)."""

import json
from pathlib import Path, PurePosixPath

import pandas as pd

from cohortreg.cohort.split import choose_test_subjects, draw_pairs
from cohortreg.errors import UserError


def import_msd(
    folder: Path, test_fraction: float, pairs: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of images and pairs from `dataset.json`'s labelled images, with paths relative to `folder`.

    Every image is a subject of its own, named after its file. `test_fraction` of them, at least one, are test
    subjects; `pairs` pairs are drawn among those. The dataset's own unlabelled test images are left out:
    nothing could be measured on them.

    Raises UserError where dataset.json is missing or malformed, or there are not as many pairs.
    """
    source = Path(folder) / "dataset.json"
    rows = [_row(source, number, entry) for number, entry in enumerate(_entries(source), start=1)]
    images = pd.DataFrame([row for row in rows if not row["image_id"].startswith("._")], dtype=str)
    if images.empty:
        raise UserError(f'{source} lists no image under "training"; give the folder of a whole dataset.')
    twice = images["image_id"][images["image_id"].duplicated()]
    if not twice.empty:
        raise UserError(f"{source} lists the image '{twice.iloc[0]}' twice under \"training\"; remove one.")
    count = max(1, round(test_fraction * len(images)))
    tested = images["subject_id"].isin(choose_test_subjects(images["subject_id"], count, seed))
    images["split"] = tested.map({True: "test", False: "train"})
    return images, draw_pairs(images[tested], pairs, seed)


def _entries(source: Path) -> list:
    """The list under "training"."""
    if not source.is_file():
        raise UserError(
            f"{source} does not exist; give a folder in the Medical Segmentation Decathlon's layout."
        )
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{source} is not valid JSON ({error}); download it again.") from error
    entries = content.get("training") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise UserError(
            f'{source} has no list "training"; it is not a Medical Segmentation Decathlon dataset.'
        )
    return entries


def _row(source: Path, number: int, entry: object) -> dict[str, str]:
    """The row of images.tsv for one entry under "training"."""
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str) or not entry["image"].strip():
        raise UserError(f'{source}, entry {number} under "training" has no "image"; correct it.')
    image = PurePosixPath(entry["image"])
    name = image.name.removesuffix(".gz").removesuffix(".nii")
    label = entry.get("label") or ""
    return {
        "image_id": name,
        "subject_id": name,
        "side": "",
        "split": "",
        "image": str(image),
        "label": str(PurePosixPath(label)) if label else "",
    }
