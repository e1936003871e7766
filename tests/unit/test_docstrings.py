"""Arguments, results and errors stand in sections of a docstring, in Google style, and not in its paragraphs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import cohortreg

PACKAGE = Path(cohortreg.__file__).parent
SECTION = re.compile(r"\n(?:Args|Attributes|Example|Raises|Returns|Yields):\n")
#: "Read a card. folder: the model's."
SENTENCES = r"(?:^|[.;:] |\n)(?:{names})(?:, \w+)*: [^\n]"
RESULT = re.compile(r"(?:^|[.;] |\n)(?:Raises|raises|Returns|returns) (?!UserError where)\S")


def documented(tree: ast.Module) -> Iterator[tuple[str, str, list[str]]]:
    """Name, docstring and arguments or attributes of what a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
        elif isinstance(node, ast.ClassDef):
            names = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    names += [argument.arg for argument in part.args.args]
        else:
            continue
        yield node.name, ast.get_docstring(node) or "", names


def in_prose(docstring: str, names: list[str]) -> bool:
    """Whether paragraphs of a docstring describe arguments, results or errors."""
    paragraphs = SECTION.split(docstring)[0]
    argument = names and re.search(SENTENCES.format(names="|".join(names)), paragraphs)
    return bool(argument or RESULT.search(paragraphs))


def test_a_docstring_in_prose_is_seen():
    assert in_prose("Read a card. folder: the model's.", ["folder"])
    assert in_prose("Read a card.\n\nRaises UserError, with one sentence.", [])
    assert not in_prose("Read a card.\n\nArgs:\n    folder: The model's.", ["folder"])
    assert not in_prose("Raise UserError where there is no card.", ["folder"])


def test_arguments_results_and_errors_stand_in_sections():
    wrong = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, docstring, names in documented(ast.parse(path.read_text("utf-8")))
        if in_prose(docstring, names)
    ]
    assert not wrong
