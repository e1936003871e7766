"""Imports go down the layers, never up and never sideways."""

import ast
from pathlib import Path

import cohortreg

PACKAGE = Path(cohortreg.__file__).parent
LAYERS = [
    {"images"},
    {"maps", "cohort"},
    {"losses", "importers"},
    {"icon", "learning", "evaluation", "phantoms"},
    {"methods", "report"},
    {"paper"},
    {"cli"},
]
HEIGHT = {folder: height for height, layer in enumerate(LAYERS) for folder in layer}


def imported_folders(path: Path) -> set[str]:
    """Folders of the package that a module imports from."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names if name.startswith("cohortreg.")]
    return {part[1] for part in parts if part[1] in HEIGHT}


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
    wrong = [path.name for path in PACKAGE.glob("*.py") if imported_folders(path)]
    assert not wrong
