"""The JSON sidecar of each preprocessed image: its inputs, and where its voxels lay in the raw image."""

from cohortreg.files import Record, read_json
from cohortreg.layout import Layout


def read_sidecar(layout: Layout, image_id: str) -> Record:
    """Read an image's sidecar; one of an earlier version has no seal.

    Raises:
        UserError: It is missing, or not as it was written.
    """
    return read_json(layout.sidecar(image_id), "`cohortreg preprocess`")
