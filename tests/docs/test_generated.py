"""What `make generated` writes is as it would write it now."""

import runpy

import pytest
from projects import REPOSITORY

GENERATED = runpy.run_path(str(REPOSITORY / "docs" / "generate.py"))["generated"]()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_generated_files_are_current(path):
    assert path.read_text("utf-8") == GENERATED[path], "run `make generated` and commit what it wrote"


def test_every_caption_belongs_to_a_figure_or_table():
    captions = {path for path in GENERATED if path.suffix == ".rst"}
    assert {*(REPOSITORY / "workflow" / "report").iterdir()} == captions
