"""What every test may need: the data that cannot be committed, found through one setting."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from cohortreg.openmp import sleeping

# As commands ask for it, which the fork server starts with PyTorch loaded: threads that spin while others want their
# cores make ten times the work.
os.environ.update(sleeping())

# Tests assert no times.
settings.register_profile("cohortreg", deadline=None)
settings.load_profile("cohortreg")

REPOSITORY = Path(__file__).parents[1]


def _outside(folder: str) -> Path:
    data = Path(os.environ.get("COHORTREG_DATA", REPOSITORY / "../shared/data"))
    path = (data / folder).resolve()
    if not path.is_dir():
        pytest.skip(f"{folder} is not there; set COHORTREG_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def hippocampus() -> Path:
    """Real MR volumes in the layout of the Medical Segmentation Decathlon."""
    return _outside("hippocampus")


@pytest.fixture(scope="session")
def oai_labels() -> Path:
    """Label maps of real knees at the full geometry of DESS scans."""
    return _outside("oai_labels")


@pytest.fixture(scope="session")
def oai_splits() -> Path:
    """The published lists of pairs of OAI knees."""
    return _outside("oai_splits")


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The four original files of MNIST."""
    return _outside("mnist")


@pytest.fixture(scope="session")
def icon_parity() -> Path:
    """Golden tensors of the authors' package."""
    return _outside("../reference/icon_parity")
