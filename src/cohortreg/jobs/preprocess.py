"""Preprocessing of a shard of images: the job of the rule `preprocess`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from cohortreg.cohort.shards import row_digest
from cohortreg.config import Preprocess
from cohortreg.errors import BadImage, UserError
from cohortreg.files import write_sealed
from cohortreg.images.image import Structures
from cohortreg.images.io import write_image
from cohortreg.images.preprocess import preprocess, read_labelled
from cohortreg.inputs import check_whole, require_root
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.jobs.training_sets import image_digest
from cohortreg.layout import Layout
from cohortreg.provenance import running

INDEX = ["image_id", "status", "reason", "sidecar", "digest", "row"]
#: What other commands look up in a sidecar, beside what the image was made from.
SIDECAR = ("mirrored", "field_of_view", "source_shape", "source_affine", "to_source")


def preprocess_shard(
    layout: Layout,
    rows: pd.DataFrame,
    root: Path,
    settings: Preprocess,
    structures: Structures,
    fail: bool = False,
    report: Callable[[str, str], None] = lambda image_id, reason: None,
) -> pd.DataFrame:
    """Preprocess the images in `rows`; one that cannot be used is excluded and the others go on.

    An image is excluded for what its files are (`BadImage`). A full disk, or any other fault of the machine, stops the
    shard instead, which goes on later. Images that are there already, made from the same files with the same settings,
    are kept.

    Args:
        structures: Name -> label values, which every label must have.
        fail: Whether to stop at the first bad image instead; what was done before stays whole.
        report: Called after each image with its id and the reason why it is excluded, or "".

    Returns:
        The shard's index: image_id, status (ok or excluded), reason, sidecar (SHA-256 of the sidecar, so that the index
        changes when an image does), digest (see `image_digest`), row (see `row_digest`).
    """
    require_root(root)
    index = []
    for line, row in zip(rows.index, rows.to_dict("records"), strict=True):
        # Before it is read: a file that is replaced from here on must look changed.
        made_of, reason = row_digest(row, root), ""
        try:
            _preprocess_row(layout, row, root, settings, structures)
        except BadImage as error:
            if fail:
                raise UserError(f"image '{row['image_id']}' (row {line} of its table): {error}") from error
            reason = " ".join(str(error).split())  # a cell of a table
            _remove(layout, row["image_id"])
        report(row["image_id"], reason)
        sidecar = layout.sidecar(row["image_id"])
        made_from = "" if reason else image_digest(read_sidecar(layout, row["image_id"]))
        status = "excluded" if reason else "ok"
        index.append([row["image_id"], status, reason, _sha256(sidecar), made_from, made_of])
    return pd.DataFrame(index, columns=INDEX, dtype=str)


def _preprocess_row(
    layout: Layout, row: dict[str, str], root: Path, settings: Preprocess, structures: Structures
) -> None:
    """Preprocess one image and its label, unless that is done."""
    image_id, image_path = row["image_id"], root / row["image"]
    label_path = root / row["label"] if row["label"] else None
    for path in filter(None, (image_path, label_path)):
        check_whole(path)
    made_from = {  # as it reads back from JSON
        "image": row["image"],
        "image_sha256": _sha256(image_path),
        "label": row["label"],
        "label_sha256": _sha256(label_path),
        "side": row["side"],
        "settings": settings.plain(),
        "settings_digest": settings.digest,
        "structures": {name: list(values) for name, values in structures.items()},
    }
    if _is_done(layout, image_id, made_from):
        return
    image, label = read_labelled(image_path, label_path, structures)
    try:
        image, label, record = preprocess(image, label, row["side"], settings)
    except BadImage as error:
        raise BadImage(f"{image_path}: {error}") from error
    _remove(layout, image_id)
    write_image(layout.image(image_id), image)
    if label is not None:
        write_image(layout.label(image_id), label)
    write_sealed(layout.sidecar(image_id), made_from | record)  # last: it says that the others are there


def _sha256(path: Path | None) -> str:
    """SHA-256 of a file or a folder of slices; "" of what is not there."""
    return running().reads(path) if path is not None and path.exists() else ""


def _is_done(layout: Layout, image_id: str, made_from: dict[str, Any]) -> bool:
    """Whether the outputs are there and the sidecar says that they were made from the same input."""
    files = [layout.image(image_id)] + ([layout.label(image_id)] if made_from["label"] else [])
    if not all(path.exists() for path in files):
        return False
    try:
        sidecar = read_sidecar(layout, image_id)
    except UserError:
        return False
    return sidecar.keys() >= set(SIDECAR) and made_from.items() <= sidecar.items()


def _remove(layout: Layout, image_id: str) -> None:
    """Nothing of an earlier run may pass for this one's; the sidecar goes first."""
    for path in (layout.sidecar(image_id), layout.image(image_id), layout.label(image_id)):
        path.unlink(missing_ok=True)
