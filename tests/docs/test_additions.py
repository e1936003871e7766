"""docs/adding.md: its edits, made in a copy of the package, which is then run with what they add."""

import ast
import html
import json
import re
import shutil
from dataclasses import replace

import pytest
from forkserver import printed
from pages import Block, blocks, commands
from projects import REPOSITORY

from cohortreg.cohort.tables import read_images, read_pairs
from cohortreg.config import ARCHITECTURES, SIMILARITIES
from cohortreg.evaluation.csv_files import read_table
from cohortreg.layout import Layout
from cohortreg.methods.registry import PAIRWISE

ADDING = blocks(REPOSITORY / "docs" / "adding.md")

TRIED = """
import sys
import torch
from cohortreg import config
from cohortreg.icon.objective import StageObjective
from cohortreg.losses.similarities import make_similarity
from cohortreg.icon.stages import build_registration
from cohortreg.losses.terms import Batch

demo, overlay = map(config.merged, sys.argv[1:])
del demo["models"]["icon"]["network"]
model = config.Configuration.read(config.merge(demo, overlay)).models["icon"]
stages = [config.IconCardStage(steps=1, downsample=1)]
registration, _ = build_registration(model.network, stages, [12, 12, 12])
similarity = make_similarity(model.similarity, 2.0)
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

FITTED = """
import sys
from cohortreg import config
from cohortreg.methods.registry import similarity_of

settings = config.merged(sys.argv[1])["method_settings"]
print(similarity_of("fit", {}, {}, settings))
"""

#: Two balls whose centres of mass are known.
REGISTERED = """
import sys
import numpy as np
import torch
from cohortreg import config
from cohortreg.images.io import Image
from cohortreg.methods import opening, registry

given = config.merge(config.merged(sys.argv[1]), {"models": {}} | config.merged(sys.argv[2]))
registry.check(config.Configuration.read(given))
method = opening.open_method(given["methods"][-1], {}, "", 1, 1)
i, j, k = np.indices((20, 21, 22))
moving, fixed = (
    Image((((i - a) ** 2 + (j - 10) ** 2 + (k - 11) ** 2) < 20).astype(np.float32), np.eye(4)) for a in (7, 10)
)
forward = method(moving, fixed).forward
torch.testing.assert_close(forward[0, :, 5, 5, 5], torch.tensor([-3 / 19, 0, 0]), atol=1e-5, rtol=0)
"""

#: Two images of noise, which a map makes alike.
LEARNT = """
import sys
import torch
from cohortreg import config
from cohortreg.losses.terms import Batch
from cohortreg.methods import registry

given = config.merge(config.merged(sys.argv[1]) | {"models": {}}, config.merged(sys.argv[2]))
read = config.Configuration.read(given | {"report": {"reference": "identity"}})
registry.check(read)
assert config.Configuration.read(read.plain()) == read
model = read.models["smooth-net"]
recipe = registry.recipe(model.method)
registration, before = recipe.build(model, [8, 8, 8])
objective = recipe.objective(registration, before, model)
images = torch.rand(4, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))
views = torch.tensor([[[0, 0, 0], [8, 8, 8]]] * 2)
batch = Batch(*images.split(2), views, views, torch.Generator().manual_seed(1))
optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
lowered = []
for step in range(6):
    terms = objective(batch)
    terms.similarity.backward()
    optimizer.step()
    optimizer.zero_grad()
    lowered.append(terms.similarity.item())
assert lowered[-1] < lowered[0], lowered
print(recipe.similarity_in_words(model), registry.releases("smooth-net", "smooth"))
"""

COMMAND = "from cohortreg.cli import main; main()"

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


def with_demo(package, code: str, configuration: Block) -> str:
    """What Python printed that ran code with the demo's configuration and the page's."""
    overlay = package.parent / "overlay.yaml"
    overlay.write_text(configuration.text)
    return run(package, code, REPOSITORY / "config" / "demo.yaml", overlay)


def run(package, code: str, *arguments) -> str:
    """What Python printed that ran code with the copy of the package."""
    return printed(code, *arguments, paths=[package.parent, REPOSITORY / "tests"])


def reported(package) -> Layout:
    """The results of a tiny cohort, evaluated, drawn and reported by the copy of the package."""
    layout = Layout(package.parent / "results")
    run(package, REPORTED, layout.root)
    return layout


def test_a_similarity(package):
    function, entry, trained, fitted = part("## A similarity", "## A network")
    (package / "losses" / "absolute.py").write_text(function.text)
    insert(package / "config" / "similarities.py", entry, r"SIMILARITIES \|= ", after=True)
    # Two independent images of values drawn evenly from 0 to 1 are a third apart on average; both directions.
    assert float(with_demo(package, TRIED, trained).split()[1]) == pytest.approx(2 / 3, abs=0.03)
    overlay = package.parent / "fitted.yaml"
    overlay.write_text(fitted.text)
    assert run(package, FITTED, overlay) == "MAE\n"


def test_a_network(package):
    network, entry, configuration = part("## A network", "## A method")
    (package / "icon" / "dilated.py").write_text(network.text)
    insert(package / "config" / "networks.py", entry, "#: Every network above")
    assert with_demo(package, TRIED, configuration).startswith("Dilated ")


def test_a_method(package):
    method, entry, configuration = part("## A method", "## A learning method")
    (package / "methods" / "centre.py").write_text(method.text)
    insert(package / "methods" / "registry.py", entry, r"PAIRWISE \|= ", after=True)
    with_demo(package, REGISTERED, configuration)


def test_a_learning_method(package):
    recipe, entry, configuration = part("## A learning method", "## An importer")
    (package / "methods" / "smooth.py").write_text(recipe.text)
    insert(package / "config" / "models.py", entry, "class _OtherModel")
    assert with_demo(package, LEARNT, configuration) == "MSE ['smooth-1']\n"


@pytest.mark.parametrize(
    ("heading", "after", "name"),
    [
        ("## A similarity", "## A network", "absolute"),
        ("## A learning method", "## An importer", "smooth"),
        ("## An importer", "## A measure", "flat"),
    ],
)
def test_the_example_is_what_the_page_shows(heading, after, name):
    example = REPOSITORY / "examples" / "cohortreg-example" / "src" / "cohortreg_example" / f"{name}.py"
    assert part(heading, after)[0].text == example.read_text("utf-8")


def test_an_importer(package, tmp_path):
    function, entry, command = part("## An importer", "## A measure")
    (package / "importers" / "flat.py").write_text(function.text)
    insert(package / "importers" / "registry.py", entry, r"IMPORTERS \|= ", after=True)
    folder, tables = tmp_path / "images", tmp_path / "tables"
    folder.mkdir()
    for number in range(40):
        (folder / f"s{number:02}.nii.gz").touch()
        (folder / f"s{number:02}_label.nii.gz").touch()
    (folder / "odd.mha").touch()
    (given,) = commands(command)
    arguments = given.replace("FOLDER", str(folder)).replace("config/flat", str(tables)).split()[1:]
    said = run(package, COMMAND, *arguments)
    assert f"{tables}: 40 images (32 train, 8 test), 20 pairs" in said and "odd.mha" in said
    images = read_images(tables / "images.tsv").set_index("image_id")
    assert images.loc["s07", ["subject_id", "image", "label"]].tolist() == [
        "s07",
        "s07.nii.gz",
        "s07_label.nii.gz",
    ]
    assert len(read_pairs(tables / "pairs.tsv", images.reset_index())) == 20
    assert "0 images added, 40 kept; 0 pairs added, 20 kept" in run(package, COMMAND, *arguments)


@pytest.mark.parametrize("names", [SIMILARITIES, ARCHITECTURES, PAIRWISE])
def test_nothing_else_lists_what_is_added_by_name(names):
    """Or adding one would be more than a file and an entry. The paper's experiments have the four networks of 4.2."""
    package = REPOSITORY / "src" / "cohortreg"
    declared = [package / "methods" / "registry.py", package / "cli" / "paper.py"]
    folders = [*(package / "config").iterdir(), *(package / "paper").iterdir()]
    for path in {*package.rglob("*.py")} - {*declared, *folders}:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            texts = [each.value for each in ast.iter_child_nodes(node) if isinstance(each, ast.Constant)]
            words = {word for text in texts if isinstance(text, str) for word in re.findall(r"[\w-]+", text)}
            assert len(words & names.keys()) <= len(names) / 2, f"{path}:{node.lineno}"


def test_a_measure(package):
    (entry,) = part("## A measure", "## A figure")
    entry = replace(entry, text=f"{entry.text.rstrip()},\n")
    insert(package / "evaluation" / "measures.py", entry, r"\)  # fmt: skip\n\nBY_KEY = ")
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
