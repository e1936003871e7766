"""The notebooks of docs/notebooks, their cells run one after the other as a kernel would, all in one folder."""

import json
import os
import re
import subprocess
import sys

import forkserver
import pytest
from projects import REPOSITORY

NOTEBOOKS = REPOSITORY / "docs" / "notebooks"
#: One goes on with what another left.
ORDER = ("two-images", "cohort", "trained-model")
#: IPython's way to run a command, in Python.
SHELL = 'import subprocess; subprocess.run(["bash", "-c", {!r}], check=True)'
#: What a kernel does with a cell: its last line is shown if it is an expression.
KERNEL = """
import ast, json, sys
names = {}
for cell in json.loads(sys.argv[1]):
    tree = ast.parse(cell)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last:
        print(repr(eval(compile(ast.Expression(last.value), "cell", "eval"), names)))
"""


def cells(name: str) -> list[str]:
    """The code of a notebook."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [re.sub(r"^!(.+)$", lambda line: SHELL.format(line[1]), text, flags=re.MULTILINE) for text in code]


@pytest.fixture(scope="module")
def printed(tmp_path_factory) -> dict[str, str]:
    """What each notebook prints."""
    folder, outputs = tmp_path_factory.mktemp("notebooks"), {}
    environment = os.environ | forkserver.environment() | {"MPLBACKEND": "agg"}
    environment["PYTHONPATH"] = str(REPOSITORY / "src")
    for name in ORDER:
        done = subprocess.run(
            [sys.executable, "-c", KERNEL, json.dumps(cells(name))],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, done.stdout
        outputs[name] = done.stdout
    return outputs


def test_every_notebook_is_run():
    assert sorted(ORDER) == sorted(path.stem for path in NOTEBOOKS.iterdir())


def test_none_has_outputs_that_could_be_outdated():
    for name in ORDER:
        notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text("utf-8"))
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook["cells"])


def test_two_images(printed):
    first = printed["two-images"].splitlines()[0]
    before, after = map(float, re.search(r"correlation (0\.\d+) before and (0\.\d+) after", first).groups())
    assert first.startswith("<anna to bert by fit") and after > before + 0.1
    assert "Figure size" in printed["two-images"] and "'dice_femoral_cartilage'" in printed["two-images"]


def test_a_cohort(printed):
    table = printed["cohort"]
    assert [method in table for method in ("affine", "fit", "icon-1step")] == [True] * 3
    folds, of_table = re.fullmatch(r"\((\d+), (\d+)\)", table.strip().splitlines()[-1]).groups()
    assert folds == of_table


def test_a_trained_model(printed):
    after = [float(value) for value in re.findall(r"and (0\.\d+) after", printed["trained-model"])]
    assert len(after) == 5
    network, fitted, tuned = after[2:]
    assert fitted > network and tuned > network
