"""Imports go down the layers, never up and never sideways; tests mirror the package by path."""

import ast
import re
from pathlib import Path

import pytest

import cohortreg

PACKAGE = Path(cohortreg.__file__).parent
TESTS = Path(__file__).parent
LAYERS = [
    {"config"},
    {"images"},
    {"maps", "cohort"},
    {"losses", "importers"},
    {"icon", "learning", "evaluation", "phantoms"},
    {"methods", "report"},
    {"pairs"},
    {"paper", "jobs"},
    {"cli"},
]
HEIGHT = {folder: height for height, layer in enumerate(LAYERS) for folder in layer}

#: Tests about the package as a whole.
ABOUT_NO_MODULE = {"test_core.py", "test_docstrings.py", "test_layers.py"}


def imported(source: str) -> set[str]:
    """Modules of the package that some code imports, or imports from, below `cohortreg`."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            # What is imported may be a module as well: `from cohortreg import layout`.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.removeprefix("cohortreg.") for name in names if name.startswith("cohortreg.")}


def imported_folders(path: Path) -> set[str]:
    """Folders of the package that a module imports from."""
    return {name.split(".")[0] for name in imported(path.read_text("utf-8"))} & set(HEIGHT)


def test_the_picture_shows_the_layers():
    picture = (TESTS.parents[1] / "docs/images/layers.svg").read_text("utf-8")
    rooms = re.findall(r'y="(\d+)" text-anchor="middle"[^>]*>(\w+)<', picture)
    drawn = [{room for height, room in rooms if int(height) == y} for y in sorted({int(y) for y, _ in rooms})]
    assert drawn[::-1] == LAYERS


@pytest.mark.parametrize(
    "source",
    [
        "import cohortreg.jobs.train",
        "from cohortreg import jobs",
        "from cohortreg import errors, jobs as work",
        "from cohortreg.jobs import train",
        "def f():\n    from cohortreg.jobs.train import train_stage",
        "if TYPE_CHECKING:\n    from cohortreg.jobs.train import train_stage",
    ],
)
def test_every_way_to_import_is_seen(source):
    assert "jobs" in {name.split(".")[0] for name in imported(source)}


def test_every_folder_has_its_layer():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(HEIGHT)


def test_imports_go_down():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for folder, height in HEIGHT.items()
        for path in (PACKAGE / folder).rglob("*.py")
        for other in imported_folders(path)
        if other != folder and HEIGHT[other] >= height
    ]
    assert not wrong


def test_what_all_may_import_imports_no_folder():
    """But for the command, and what `import cohortreg` offers, which is imported when it is used."""
    wrong = {path.name for path in PACKAGE.glob("*.py") if imported_folders(path)}
    assert wrong == {"__init__.py", "__main__.py"}


def test_jobs_alone_know_the_layout_of_results():
    """Below `cli`, that is. The paper's experiments have a layout of their own, and know no other."""
    of_paper = {"layout", "layout.PaperLayout"}
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        if path.parent not in (PACKAGE / "jobs", PACKAGE / "cli")
        for name in imported(path.read_text("utf-8")) - (of_paper if path.parent.name == "paper" else set())
        if name.split(".")[0] == "layout"
    ]
    assert not wrong


def test_no_import_goes_in_a_circle():
    """Nor do those that a function makes as it runs, but for how an image is saved, and a loss that is compiled."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    names = [path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".") for path in paths]
    imports = {
        name: imported(path.read_text("utf-8")) & set(names) for name, path in zip(names, paths, strict=True)
    }
    imports["images.image"].remove("images.io")
    imports["icon.fit"].remove("icon.compiled")
    while free := {name for name, others in imports.items() if not others}:
        imports = {name: others - free for name, others in imports.items() if name not in free}
    assert not imports


def test_tests_mirror_the_package():
    """Each file in `tests/unit` is about the module that it is named after; test_init.py about a folder itself."""
    tests = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    names = {path.with_name(f"test_{path.name.replace('__', '')}").as_posix() for path in modules}
    assert tests - names == ABOUT_NO_MODULE
