# What the rules share: the validated configuration, and the functions of their inputs.
from cohortreg.layout import PaperLayout
from cohortreg.report_layout import FIGURE_SUFFIXES
from cohortreg.paper.plan import (
    DATASETS,
    FIGURE6,
    FIGURES,
    FULL,
    NETWORKS,
    SPLITS,
    VARIANTS,
    figure_cells,
    figures,
    table1_cells,
)
from cohortreg.paper.settings import Experiments
from cohortreg.jobs.places import refuse_results_of_others


wildcard_constraints:
    dataset="|".join(DATASETS),
    network="|".join(NETWORKS),
    weight=r"\d+",
    variant="|".join(VARIANTS),
    figure="|".join(FIGURES),


try:
    settings = Experiments.read(config)
    layout = PaperLayout(Path("results") / f"paper-{settings.preset}")
    if workflow.is_main_process:
        require("the paper's workflow", "train", "report")
        refuse_results_of_others(layout)
except UserError as error:
    sys.exit(f"cohortreg: {error}")

PRESET = settings.chosen.plain()
TABLE1 = PRESET["table1"], PRESET["weights"]
SHOWN = figures(PRESET["table1"])
CELL = ("{dataset}", "{network}", "{weight}", "{variant}")

# What each job is asked for, beside its files.
settings_file = SettingsFiles(layout, mode)


def results_folder(wildcards):
    """The folder of results."""
    return layout.root


def preset_part(*keys):
    """Keys of the preset."""
    return {key: PRESET[key] for key in keys}


def mnist_files(wildcards):
    """The original files, as far as they are there; what is missing is for the command to say."""
    folder = configuration.expand_root(settings.mnist)
    return sorted(folder.glob("*-ubyte*")) if wildcards.dataset == "mnist" else []


def data_settings(wildcards):
    """What of the preset a data set depends on."""
    return settings_file(
        layout.packed_index(wildcards.dataset, SPLITS[0]).is_file(),
        "data",
        wildcards.dataset,
        mnist=settings.mnist,
        seed=settings.seed,
        **preset_part("size", "train_images", "test_images"),
    )


def cell_settings(wildcards):
    """What of the preset a cell depends on: of the networks only its own."""
    network = {wildcards.network: PRESET["networks"][wildcards.network]}
    cell = (wildcards.dataset, wildcards.network, wildcards.weight, wildcards.variant)
    return settings_file(
        layout.measured(*cell).is_file(),
        "cell",
        "-".join(cell),
        networks=network,
        seed=settings.seed,
        **preset_part("pairs", "precision", "weight_from", "weight_rise", "checkpoint_every"),
    )


def table1_settings(wildcards):
    """The preset."""
    return settings_file(layout.table1.is_file(), "table1", **PRESET)


def figure_settings(wildcards):
    """The preset."""
    made = layout.figure(wildcards.figure).is_file()
    return settings_file(made, "figure", wildcards.figure, **PRESET)


def figure_files(wildcards):
    """What the cells of a figure left."""
    cells = figure_cells(wildcards.figure, *TABLE1)
    return [file(*cell) for cell in cells for file in (layout.examples, layout.measured)]


def figure_paths(*names):
    """The files of figures."""
    return [layout.figure(name, suffix) for name in names for suffix in FIGURE_SUFFIXES]
