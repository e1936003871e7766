"""Commands for the paper's experiments."""

from pathlib import Path
from typing import Annotated

import typer

from cohortreg.cli import app
from cohortreg.cli.options import Results, Seed, Threads, parsed
from cohortreg.cli.progress import progress_bar
from cohortreg.layout import PaperLayout

paper = typer.Typer(no_args_is_help=True, help="The experiments of Greer et al., 2021.")
app.add_typer(paper, name="paper")

Settings = Annotated[
    str, typer.Option(help="JSON: the preset, an entry of presets in workflow/paper/config.yaml.")
]
PresetName = Annotated[str, typer.Option(help="The preset's name, which every output says.")]


@paper.command("data")
def data_command(
    results: Results,
    dataset: Annotated[str, typer.Option(help="mnist or triangles_circles.")],
    mnist: Annotated[str, typer.Option(help="Folder of MNIST's files; $VARIABLES are expanded.")],
    settings: Settings,
    seed: Seed = 1,
) -> None:
    """Pack the training and test images of a data set."""
    from cohortreg.config import expand_root
    from cohortreg.paper.data import pack_dataset
    from cohortreg.paper.settings import DATA

    sizes = parsed(settings, DATA)
    total = sizes.train_images + sizes.test_images
    with progress_bar(f"Packing {dataset}", total) as advance:
        pack_dataset(PaperLayout(results), dataset, sizes, expand_root(mnist), seed, advance)


@paper.command("cell")
def cell_command(
    results: Results,
    dataset: Annotated[str, typer.Option(help="mnist or triangles_circles.")],
    network: Annotated[str, typer.Option(help="mlp, enc_dec, unet or conv_only.")],
    weight: Annotated[int, typer.Option(min=0, help="Weight of inverse consistency, lambda of Eq. 13.")],
    settings: Settings,
    variant: Annotated[str, typer.Option(help="table1, swapped-on-grid or swapped-off-grid.")] = "table1",
    accelerator: Annotated[str, typer.Option(help="Device, in Lightning Fabric's terms.")] = "auto",
    seed: Seed = 1,
    threads: Threads = 1,
) -> None:
    """Train a network on a data set with one weight, and measure it on held-out pairs."""
    from cohortreg.cli.training import warn_of_precision
    from cohortreg.learning.devices import use_processor
    from cohortreg.learning.fabric import make_fabric
    from cohortreg.paper.cells import run_cell
    from cohortreg.paper.plan import Cell
    from cohortreg.paper.settings import CELL

    use_processor(threads)
    sizes = parsed(settings, CELL)
    fabric = make_fabric(accelerator, sizes.precision)
    warn_of_precision(fabric.device, sizes.precision)
    cell = Cell(dataset, network, weight, variant)
    total = getattr(sizes.networks, network).training_steps
    with progress_bar(f"{network} on {dataset}, weight {weight}", total) as advance:
        facts = run_cell(
            PaperLayout(results), cell, sizes, seed, fabric, lambda state: advance(completed=state.step)
        )
    typer.echo(
        f"Dice {facts['dice']:.3f}, folds {facts['folds']:.2f}, {facts['training_seconds']} s of training"
    )


@paper.command("table1")
def table1_command(
    results: Results,
    published: Annotated[Path, typer.Option(help="The published table, resources/paper/table1.csv.")],
    preset: PresetName,
    settings: Settings,
    seed: Seed = 1,
) -> None:
    """Write Table 1 beside the published one, as CSV and Markdown."""
    from cohortreg.paper import table1
    from cohortreg.paper.plan import Run
    from cohortreg.paper.settings import Preset

    run = Run(preset, parsed(settings, Preset), seed)
    typer.echo(table1.write(PaperLayout(results), published, run), nl=False)


@paper.command("figure")
def figure_command(
    results: Results,
    name: Annotated[str, typer.Option(help="figure2 to figure5, figure6-mnist, figure6-triangles_circles.")],
    preset: PresetName,
    settings: Settings,
    seed: Seed = 1,
    threads: Threads = 1,
) -> None:
    """Draw a figure of the paper, as PNG and as SVG."""
    from cohortreg.learning.devices import use_processor
    from cohortreg.paper.figures import draw
    from cohortreg.paper.plan import Run
    from cohortreg.paper.settings import Preset

    use_processor(threads)
    layout = PaperLayout(results)
    draw(layout, name, Run(preset, parsed(settings, Preset), seed))
    typer.echo(f"{layout.figure(name)}: the figure.")
