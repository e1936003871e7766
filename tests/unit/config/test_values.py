"""Values that sections share."""

from pathlib import Path

from cohortreg.config import expand_root


def test_root_of_data_outside_the_repository(monkeypatch):
    monkeypatch.setenv("COHORTREG_DATA", "/data")
    assert expand_root("$COHORTREG_DATA/hippocampus") == Path("/data/hippocampus")
    monkeypatch.delenv("COHORTREG_DATA")
    assert expand_root("$COHORTREG_DATA/hippocampus") == Path("../shared/data/hippocampus")
    assert expand_root("resources/demo") == Path("resources/demo")
