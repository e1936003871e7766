"""docs/adding.md: its edits, made in a copy of the package, which is then run with what they add."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from pages import Block, blocks
from projects import REPOSITORY

from cohortreg.evaluation.csv_files import read_table
from cohortreg.layout import Layout

ADDING = blocks(REPOSITORY / "docs" / "adding.md")

TRIED = """
import sys
import torch
from cohortreg import config
from cohortreg.icon.objective import StageObjective
from cohortreg.losses.similarities import SIMILARITIES
from cohortreg.icon.stages import build_registration
from cohortreg.maps.batch import Batch

demo, overlay = map(config.merged, sys.argv[1:])
del demo["models"]["icon"]["network"]
model = config.Configuration.read(config.merge(demo, overlay)).models["icon"]
stages = [config.IconCardStage(steps=1, downsample=1)]
registration, _ = build_registration(model.network, stages, [12, 12, 12])
similarity = SIMILARITIES[model.similarity](2.0)
objective = StageObjective(registration, None, 1, similarity)
images = torch.rand(4, 1, 12, 12, 12, generator=torch.Generator().manual_seed(1))
views = torch.tensor([[[0, 0, 0], [12, 12, 12]]] * 2)
optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
lowered = []
for step in range(8):
    terms = objective(Batch(*images.split(2), views, views, torch.Generator().manual_seed(step)))
    (terms.similarity + terms.inverse_consistency).backward()
    optimizer.step()
    optimizer.zero_grad()
    lowered.append(terms.similarity.item())
assert lowered[-1] < lowered[0], lowered
print(type(registration.network).__name__, lowered[0])
"""


REPORTED = """
import sys
from cohorts import make_results
from cohortreg.jobs.comparison import read_comparison
from cohortreg.jobs.figures import draw_figures
from cohortreg.jobs.report import write_report

layout, config = make_results(sys.argv[1])
draw_figures(layout, read_comparison(layout, config))
write_report(layout, read_comparison(layout, config))
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "src" / "cohortreg", tmp_path / "cohortreg", ignore=unwanted)
    return tmp_path / "cohortreg"


def part(after: str, before: str | None = None) -> list[Block]:
    """The blocks of the page between the lines of two headings."""
    text = (REPOSITORY / "docs" / "adding.md").read_text("utf-8").splitlines()
    first = text.index(after)
    last = text.index(before) if before else len(text)
    return [block for block in ADDING if first < block.line <= last]


def insert(path, block: Block, at: str, after: bool = False) -> None:
    """Put a block's text in front of the line that begins so, or behind it."""
    text = path.read_text("utf-8")
    line = re.search(rf"^{at}.*\n", text, flags=re.MULTILINE)
    place = line.end() if after else line.start()
    between = "" if after else "\n\n"
    path.write_text(text[:place] + block.text + between + text[place:])


def lengthen(package, block: Block) -> None:
    """A line of names of the configuration, as the page has it: what is longer by one name takes its place."""
    path = package / "config.py"
    text, name = path.read_text("utf-8"), block.text.partition(" = ")[0]
    (before,) = re.findall(rf"^{name} = .*\n", text, flags=re.MULTILINE)
    names = [set(re.findall(r"\w+", part)) for part in (before, block.text)]
    assert names[0] < names[1] and len(names[1] - names[0]) == 1
    path.write_text(text.replace(before, block.text))


def tried(package, configuration: Block) -> str:
    """What training with the page's configuration printed."""
    overlay = package.parent / "overlay.yaml"
    overlay.write_text(configuration.text)
    return run(package, TRIED, REPOSITORY / "config" / "config.yaml", overlay)


def run(package, code: str, *arguments) -> str:
    """What Python printed that ran code with the copy of the package."""
    paths = os.pathsep.join([str(package.parent), str(REPOSITORY / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def reported(package) -> Layout:
    """The results of a tiny cohort, evaluated, drawn and reported by the copy of the package."""
    layout = Layout(package.parent / "results")
    run(package, REPORTED, layout.root)
    return layout


def test_a_similarity(package):
    function, line, names, configuration = part("## A similarity", "## A network")
    path = package / "losses" / "similarities.py"
    insert(path, line, "SIMILARITIES: ", after=True)
    insert(path, function, "#: Each name of the configuration")
    lengthen(package, names)
    # Two independent images of values drawn evenly from 0 to 1 are a third apart on average; both directions.
    assert float(tried(package, configuration).split()[1]) == pytest.approx(2 / 3, abs=0.03)


def test_a_network(package):
    network, line, keys, names, configuration = part("## A network", "## A method")
    path = package / "icon" / "networks.py"
    insert(path, line, "ARCHITECTURES: ", after=True)
    insert(path, network, "#: Each name of the configuration")
    insert(package / "config.py", keys, "Networks = ")
    lengthen(package, names)
    assert tried(package, configuration).startswith("Dilated ")


def test_a_measure(package):
    (entry,) = part("## A measure", "## A figure")
    entry = replace(entry, text=f"{entry.text.rstrip()},\n")
    insert(package / "evaluation" / "measures.py", entry, r"\)\n\nBY_KEY = ")
    layout = reported(package)
    pairs, methods = read_table(layout.pairs_table), read_table(layout.methods_table).set_index("method")
    # The tiny cohort's structures all have one size, and identity moves nothing.
    still = pairs[pairs["method"] == "identity"]
    for column in ("volume_error_mean", "volume_error_core", "volume_error_outer_rim"):
        assert still[column].tolist() == [0, 0, 0]
        assert pairs.loc[pairs["method"] == "icon-3step", column].max() > 0
    assert methods.loc["identity", "volume_error_mean"] == 0
    for path in (layout.methods_markdown, layout.report.index, layout.report.pair("a", "b")):
        text = html.unescape(path.read_text("utf-8"))
        assert "Volume error" in text and "difference between the volumes" in text, path
    described = re.search(
        r'id="table-data">(.*?)</script>', layout.report.index.read_text("utf-8"), re.DOTALL
    )
    columns = {column["key"]: column for column in json.loads(described[1])["columns"]}
    assert columns["volume_error_mean"]["higherIsBetter"] is False
    assert '"volume_error_mean": [' in layout.report.rows(0).read_text("utf-8")


def test_a_figure(package):
    function, entry = part("## A figure")
    (package / "report" / "figures" / "distances.py").write_text(function.text)
    registry = package / "report" / "figures" / "registry.py"
    insert(registry, entry, "FIGURES = ", after=True)
    layout = reported(package)
    for suffix in ("png", "svg"):
        assert layout.figure("hd95", suffix).stat().st_size > 0
    page = layout.report.index.read_text("utf-8")
    assert page.count('src="figures/hd95.svg"') == 1 and "<h3>Distance by method</h3>" in page
    assert page.count("95 % Hausdorff distance in millimetres, mean over the structures. Box: ") == 1
