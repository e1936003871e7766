# What the rules of the paper's experiments share.
from cohortreg.layout import PaperLayout
from cohortreg.report_layout import FIGURE_SUFFIXES
from cohortreg.paper.plan import (
    DATASETS,
    FIGURE6,
    FIGURES,
    NETWORKS,
    SPLITS,
    VARIANTS,
    figure_cells,
    figures,
    table1_cells,
)
from cohortreg.paper.settings import Experiments


wildcard_constraints:
    dataset="|".join(DATASETS),
    network="|".join(NETWORKS),
    weight=r"\d+",
    variant="|".join(VARIANTS),
    figure="|".join(FIGURES),


try:
    EXPERIMENTS = Experiments.read(PAPER)
except UserError as error:
    sys.exit(f"cohortreg: {error}")

PAPER, PRESET = EXPERIMENTS.paper, EXPERIMENTS.preset
PAPER_SETTINGS = EXPERIMENTS.chosen.plain()
TABLE1 = PAPER_SETTINGS["table1"], PAPER_SETTINGS["weights"]
PAPER_FIGURES = figures(PAPER_SETTINGS["table1"])
PAPER_CELL = ("{dataset}", "{network}", "{weight}", "{variant}")
paper_layout = PaperLayout(Path("results") / f"paper-{PRESET}")
paper_asked = Asked(paper_layout, mode)
try:
    if workflow.is_main_process:
        refuse_results_of_others(paper_layout)
except UserError as error:
    sys.exit(f"cohortreg: {error}")


def paper_results(wildcards):
    """The folder of the paper's results."""
    return paper_layout.root


def preset_part(*keys):
    """Keys of the preset."""
    return {key: PAPER_SETTINGS[key] for key in keys}


def mnist_files(wildcards):
    """The original files, as far as they are there; what is missing is for the command to say."""
    folder = configuration.expand_root(PAPER.mnist)
    return sorted(folder.glob("*-ubyte*")) if wildcards.dataset == "mnist" else []


def data_asked(wildcards):
    """What of the preset a data set depends on."""
    return paper_asked(
        paper_layout.packed_index(wildcards.dataset, SPLITS[0]).is_file(),
        "data",
        wildcards.dataset,
        mnist=PAPER.mnist,
        seed=settings.seed,
        **preset_part("size", "train_images", "test_images"),
    )


def cell_asked(wildcards):
    """What of the preset a cell depends on: of the networks only its own."""
    network = {wildcards.network: PAPER_SETTINGS["networks"][wildcards.network]}
    cell = (wildcards.dataset, wildcards.network, wildcards.weight, wildcards.variant)
    return paper_asked(
        paper_layout.measured(*cell).is_file(),
        "cell",
        "-".join(cell),
        networks=network,
        seed=settings.seed,
        **preset_part("pairs", "precision", "weight_from", "weight_rise", "checkpoint_every"),
    )


def table1_asked(wildcards):
    """The preset."""
    return paper_asked(paper_layout.table1.is_file(), "table1", **PAPER_SETTINGS)


def figure_asked(wildcards):
    """The preset."""
    made = paper_layout.figure(wildcards.figure).is_file()
    return paper_asked(made, "figure", wildcards.figure, **PAPER_SETTINGS)


def figure_files(wildcards):
    """What the cells of a figure left."""
    cells = figure_cells(wildcards.figure, *TABLE1)
    return [file(*cell) for cell in cells for file in (paper_layout.examples, paper_layout.measured)]


def figure_paths(*names):
    """The files of figures."""
    return [paper_layout.figure(name, suffix) for name in names for suffix in FIGURE_SUFFIXES]
