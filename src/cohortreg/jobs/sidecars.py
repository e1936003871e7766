"""The JSON sidecar of each preprocessed image: its inputs, and where its voxels lay in the raw image."""

from collections.abc import Mapping
from typing import Any

from cohortreg.files import Record, read_json, write_sealed
from cohortreg.layout import Layout


def write_sidecar(layout: Layout, image_id: str, content: Mapping[str, Any]) -> None:
    """Write an image's sidecar, whole or not at all."""
    write_sealed(layout.sidecar(image_id), content)


def read_sidecar(layout: Layout, image_id: str) -> Record:
    """Read an image's sidecar; one of an earlier version has no seal.

    Raises:
        UserError: It is missing, or not as it was written.
    """
    return read_json(layout.sidecar(image_id), "`cohortreg preprocess`")
