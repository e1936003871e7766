"""Finds what a page names in the package."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "cohortreg"

#: A link to a file of the package whose text is the dotted name of something in it.
NAMED = re.compile(r"\[`([\w.]+)`\]\((?:\.\./)*src/cohortreg/([\w/]+\.py)\)")


def source_of(name: str, path: str) -> str:
    """The source of a function, class, method or module's variable.

    name: dotted, from the package's folder on, such as icon.objective.icon_loss. path: of its file, from there too.
    Raises LookupError where the name is not that of something in the file.
    """
    module = path.removesuffix(".py").replace("/", ".") + "."
    file = PACKAGE / path
    if not name.startswith(module) or not file.is_file():
        raise LookupError(f"{name} is not in src/cohortreg/{path}")
    text = file.read_text("utf-8")
    node = ast.parse(text)
    for part in name.removeprefix(module).split("."):
        node = next((child for child in node.body if part in _names(child)), None)
        if node is None:
            raise LookupError(f"{name} is not in src/cohortreg/{path}")
    first = min([node.lineno, *(line.lineno for line in getattr(node, "decorator_list", []))])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]
