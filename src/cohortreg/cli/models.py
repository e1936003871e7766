"""Commands about trained models: what one is, and a folder of it to give away."""

from pathlib import Path
from typing import Annotated

import typer

from cohortreg.cli import app
from cohortreg.errors import UserError

models = typer.Typer(
    no_args_is_help=True, help="Look at a trained model, or make a folder of it to give away."
)
app.add_typer(models, name="model")

Model = Annotated[Path, typer.Argument(help="A model's folder, such as results/demo/models/icon/stage-2.")]


@models.command("inspect")
def inspect_command(model: Model) -> None:
    """Print what a model's card says: images, network, training, origin, and how to use it."""
    from cohortreg.methods.model_pages import page

    typer.echo(page(model), nl=False)


@models.command("export")
def export_command(
    model: Model, folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")]
) -> None:
    """Write a model's two files, and a page about it, into a folder that can be given away."""
    import shutil

    from cohortreg.files import whole, write_text
    from cohortreg.methods.cards import read_card
    from cohortreg.methods.model_pages import page
    from cohortreg.methods.trained import weights_of
    from cohortreg.model_files import CARD, README, WEIGHTS

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} already exists; name a folder that is not there yet.")
    text = page(model)
    weights_of(read_card(model), model / WEIGHTS)  # which are whole, and the card's
    for name in (WEIGHTS, CARD):
        with whole(folder / name) as beside:
            shutil.copyfile(model / name, beside)
    write_text(folder / README, text.replace(str(model), str(folder)))
    typer.echo(f"{folder}: the model, {WEIGHTS} and {CARD}, with {README} about it")
