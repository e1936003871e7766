"""A preset so small that every network trains in a moment."""

import pytest
from configurations import PRESET

from cohortreg.layout import PaperLayout
from cohortreg.paper.settings import Preset


@pytest.fixture
def preset() -> Preset:
    return Preset.read(PRESET)


@pytest.fixture
def layout(tmp_path) -> PaperLayout:
    return PaperLayout(tmp_path / "results")
