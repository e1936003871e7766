"""The JSON beside each preprocessed image: what it was made from, and where its voxels lay in the raw image."""

import json
from collections.abc import Mapping

from cohortreg.errors import UserError
from cohortreg.files import Record, damaged, digest, read_json, write_json
from cohortreg.layout import Layout

#: The key under which a sidecar has the digest of its other content.
SEAL = "sha256"
COMMAND = "`cohortreg preprocess`"


def write_sidecar(layout: Layout, image_id: str, content: Mapping) -> None:
    """Write an image's sidecar, whole or not at all."""
    write_json(layout.sidecar(image_id), {**content, SEAL: _digest(content)})


def read_sidecar(layout: Layout, image_id: str) -> Record:
    """Read an image's sidecar, without its seal; one of an earlier version has none.

    Raises UserError where it is missing, or not as it was written.
    """
    path = layout.sidecar(image_id)
    record = read_json(path, COMMAND)
    seal = record.pop(SEAL, None)
    if seal is not None and seal != _digest(record):
        raise UserError(damaged(path, "it does not hold what was written", COMMAND))
    return record


def _digest(content: Mapping) -> str:
    return digest(json.dumps(content, sort_keys=True))
