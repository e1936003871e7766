"""Two real hippocampi with labels, and a knee's model, for tests of the Python API."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pair(hippocampus) -> dict[str, Path]:
    """Paths of images and label maps of two people."""
    names = [path.name for path in sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[1:3]]
    return {
        "moving": hippocampus / "imagesTr" / names[0],
        "fixed": hippocampus / "imagesTr" / names[1],
        "moving_label": hippocampus / "labelsTr" / names[0],
        "fixed_label": hippocampus / "labelsTr" / names[1],
    }


@pytest.fixture(scope="session")
def found(pair):
    """The pair registered by fit."""
    import cohortreg

    return cohortreg.register(pair["moving"], pair["fixed"], threads=1)
