"""Commands that import, generate and preprocess a cohort."""

import inspect
import os
import shlex
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from cohortreg.cli import app
from cohortreg.cli.options import (
    Config,
    Images,
    ImageShard,
    ImageShards,
    Output,
    Results,
    Root,
    Seed,
    configured,
    parsed,
)
from cohortreg.cli.progress import new_and_kept, progress_bar
from cohortreg.errors import UserError
from cohortreg.importers.registry import IMPORTERS, Draw, Importer, Option, Side
from cohortreg.layout import CheckLayout, Layout
from cohortreg.plugins import said_in_a_sentence

if TYPE_CHECKING:
    from cohortreg.importers.additions import Added
    from cohortreg.importers.found import Found


class _Importers(TyperGroup):
    """The commands below import: this package's, and behind them those of other packages, made when asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all."""
        return [*super().list_commands(ctx), *sorted(IMPORTERS.others.keys() - self.commands)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; one whose package is broken ends in a sentence, which its help says too."""
        known = super().get_command(ctx, cmd_name)
        if known or not IMPORTERS.is_other(cmd_name):
            return known
        try:
            with said_in_a_sentence(f"the importer {cmd_name}", IMPORTERS.package(cmd_name)):
                return _alone(_add_importer, cmd_name, IMPORTERS[cmd_name])
        except UserError as error:
            return _alone(_add_broken, cmd_name, error)


def _alone(add: Callable[[typer.Typer, str, Any], None], name: str, what: Any) -> Any:
    """A command that is in no group yet."""
    commands = typer.Typer(add_completion=False)
    add(commands, name, what)
    return typer.main.get_command(commands)


importers = typer.Typer(
    cls=_Importers,
    no_args_is_help=True,
    help="Add to a cohort's images.tsv and pairs.tsv what is new, or import a model.",
)
app.add_typer(importers, name="import")


OnBadImage = Literal["exclude", "fail"]
Tables = Annotated[Path, typer.Option(help="Folder for the tables, images.tsv and pairs.tsv.")]
TestFraction = Annotated[float, typer.Option(min=0, max=1, help="Part of the subjects to test on.")]
TestPairs = Annotated[int, typer.Option(min=1, help="Test pairs to draw.")]
KNEE_GRID, KNEE_SPACING = (48, 96, 96), (2.3, 1.46, 1.46)
#: Types of the options that every importer has which draws splits and pairs.
DRAW = {
    "test_fraction": TestFraction,
    "validation_fraction": Annotated[
        float,
        typer.Option(min=0, max=1, help="Part of the subjects to measure on while networks are trained."),
    ],
    "pairs": TestPairs,
    "seed": Seed,
}


def _row_name(folder: Path) -> str:
    """Name the row of a model after its folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in folder.name.lower()) or "published"


def _add_importer(commands: typer.Typer, name: str, importer: Importer) -> None:
    """Make the command of an importer."""

    def command(output: Path, **values: Any) -> None:
        draw = importer.draw and Draw(**{key: values.pop(key) for key in DRAW})
        tools = {"output": output, "progress_bar": progress_bar}
        needed = {tool: tools[tool] for tool in importer.tools}

        def read(say: Callable[[str], None]) -> "Found":
            with said_in_a_sentence(f"the importer {name}", IMPORTERS.package(name)):
                return importer.function(say=say, **values, **needed)

        _import(read, output, draw)

    def parameter(name: str, kind: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    draws = importer.draw._asdict() if importer.draw else {}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # which Typer makes the options of
        [
            parameter(importer.argument, Annotated[importer.kind, typer.Argument(help=importer.source)]),
            parameter("output", Tables),
            *(parameter(key, _type(key, option), option.default) for key, option in importer.options.items()),
            *(parameter(key, DRAW[key], default) for key, default in draws.items()),
        ]
    )
    commands.command(name, help=importer.about)(command)


def _add_broken(commands: typer.Typer, name: str, error: UserError) -> None:
    """Make a command that ends in the sentence on why it is none."""
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}

    @commands.command(name, help=str(error), context_settings=anything)
    def refuse() -> None:
        raise error


def _type(name: str, option: Option) -> Any:
    """The type of an option; a flag has no opposite."""
    flags = [f"--{name.replace('_', '-')}"] if option.kind is bool else []
    return Annotated[option.kind, typer.Option(*flags, help=option.help)]


for _name, _importer in IMPORTERS.items():
    _add_importer(importers, _name, _importer)


@importers.command("weights")
def import_weights_command(
    file: Annotated[Path, typer.Argument(help="Weights that the authors of ICON or GradICON published.")],
    output: Annotated[Path, typer.Option(help="Folder to write the model to.")],
    published: Annotated[
        str | None,
        typer.Option(help="Which published model FILE is, where its content and its name do not tell."),
    ] = None,
    grid: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            help="Of weights that are not in docs/trained-models.md: voxels of their images, along their axes."
        ),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="And where these axes run to, LIP for instance; RAS if none.")
    ] = None,
    percentiles: Annotated[
        tuple[float, float] | None, typer.Option(help="Percentiles of grey values that become 0 and 1.")
    ] = None,
    mirror: Annotated[Side | None, typer.Option(help="Side of the body whose images are mirrored.")] = None,
) -> None:
    """Import published weights as a model, which FILE is recognised as; nothing in it is executed."""
    from cohortreg.methods.icon import import_weights
    from cohortreg.model_files import CARD, WEIGHTS

    for name in (WEIGHTS, CARD):
        if os.path.lexists(output / name):
            raise UserError(f"{output} already contains a model, {output / name}; name another folder.")
    card = import_weights(file, output, grid, axes, percentiles, mirror, published)
    typer.echo(
        f"{output}: the model{f', {known}' if (known := card.get('published')) else ''}. Name it in the configuration, "
        f"as in `pretrained: {{{_row_name(output)}: {output}}}`, and its row under methods."
    )


@importers.command("phantom")
def import_phantom_command(
    output: Tables,
    subjects: Annotated[int, typer.Option(min=2, help="Knees, one a subject, right and left in turn.")] = 30,
    test: Annotated[int, typer.Option(min=2, help="How many of the subjects to test on.")] = 8,
    pairs: TestPairs = 20,
    seed: Seed = 1,
) -> None:
    """Write the tables of the embedded demo; `cohortreg phantom` makes the images they name."""
    from cohortreg.phantoms.phantom import phantom_knees

    _import(lambda say: phantom_knees(subjects), output, Draw(test / subjects, 0, pairs, seed))


@app.command("init")
def init_command(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Images: files with or without labels, imagesTr and labelsTr, BIDS, Learn2Reg, or DICOM series."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            help="The configuration to write, such as config/mine.yaml; its tables go to config/mine/."
        ),
    ],
    test_fraction: TestFraction = 0.2,
    pairs: TestPairs = 100,
    seed: Seed = 1,
) -> None:
    """Write a cohort's tables, and a configuration that fits its images and this machine."""
    from cohortreg.importers.starting import start_cohort

    added = start_cohort(folder, output, Draw(test_fraction, 0, pairs, seed), typer.echo, progress_bar)
    _echo(output.with_suffix(""), added)
    typer.echo(f"{output}: the configuration; look at it, then: cohortreg run {shlex.quote(str(output))}")


@app.command("phantom")
def phantom_command(
    images: Annotated[Path, typer.Argument(help="A table of images to make, such as the demo's images.tsv.")],
    output: Annotated[Path, typer.Argument(help="Folder that the table's paths start from.")],
    settings: Annotated[
        str,
        typer.Option(help='JSON: {"grid": [...], "spacing": [...]}, or {"labels": FOLDER}; or a file of it.'),
    ] = "",
    config: Config = None,
    shard: ImageShard = 0,
    shards: ImageShards = 1,
    record: Annotated[
        Path | None, typer.Option(help="A JSON to write, with the SHA-256 of every file that was made.")
    ] = None,
    seed: Seed = 1,
) -> None:
    """Make every image and label that the table names, of phantoms or of label maps; what is there already is kept.

    A file that was not made here is never replaced.
    """
    from cohortreg.cohort.shards import shard_rows
    from cohortreg.cohort.tables import read_images
    from cohortreg.config import Phantom
    from cohortreg.files import write_json
    from cohortreg.phantoms.phantom import make_phantoms

    section = configured(settings, config).phantom if config else parsed(settings, Phantom)
    if section is None:
        raise UserError("--config has no phantom, so there are no images to generate.")
    table = shard_rows(read_images(images), shard, shards)
    with progress_bar("Phantoms", len(table)) as advance:
        made = make_phantoms(table, output, section, seed, report=lambda image_id: advance())
    if record:
        write_json(record, made)


@app.command("phantom-anatomy")
def phantom_anatomy_command(
    output: Annotated[Path, typer.Argument(help="The label map to write, .nii.gz.")],
    identifier: Annotated[str, typer.Option("--id", help="Who it is: another name is another anatomy.")],
    side: Annotated[Side, typer.Option(help="Which knee.")] = "right",
    grid: Annotated[
        tuple[int, int, int], typer.Option(help="Voxels along right, anterior, superior.")
    ] = KNEE_GRID,
    spacing: Annotated[
        tuple[float, float, float], typer.Option(help="Size of a voxel, millimetres.")
    ] = KNEE_SPACING,
    seed: Seed = 1,
) -> None:
    """Make one phantom's anatomy: a label map of a knee."""
    from cohortreg.images.io import write_image
    from cohortreg.phantoms.anatomy import anatomy

    write_image(output, anatomy(seed, identifier, side, grid, spacing))


@app.command("phantom-image")
def phantom_image_command(
    label: Annotated[Path, typer.Argument(help="Any label map.")],
    output: Annotated[Path, typer.Argument(help="The image to write, .nii.gz.")],
    identifier: Annotated[str, typer.Option("--id", help="Name of the scan; the label's name if none.")] = "",
    seed: Seed = 1,
) -> None:
    """Make an image with the contrast of a DESS scan from one label map."""
    from cohortreg.images.io import read_label, write_image
    from cohortreg.phantoms.dess import dess

    write_image(output, dess(read_label(label), seed, identifier or label.name.split(".")[0]))


@app.command("preprocess")
def preprocess_command(
    results: Results,
    images: Images,
    root: Root,
    settings: Annotated[str, typer.Option(help='JSON: {"preprocess": {...}, "structures": {...}}.')] = "",
    config: Config = None,
    shard: ImageShard = 0,
    shards: ImageShards = 1,
    on_bad_image: Annotated[OnBadImage, typer.Option(help="Leave a bad image out, or stop.")] = "exclude",
) -> None:
    """Bring a shard of the images to one orientation, side, grid and range of grey values."""
    from cohortreg.cohort.shards import shard_rows
    from cohortreg.cohort.tables import read_images, write_table
    from cohortreg.config import expand_root
    from cohortreg.jobs.preprocess import preprocess_shard

    layout = Layout(results)
    configuration = configured(settings, config, "preprocess", "structures")
    rows = shard_rows(read_images(images), shard, shards)
    with progress_bar("Preprocessing", len(rows)) as advance:
        index = preprocess_shard(
            layout,
            rows,
            expand_root(root),
            configuration.preprocess,
            configuration.structures,
            fail=on_bad_image == "fail",
            report=lambda image_id, reason: advance(f"excluded {image_id}: {reason}" if reason else ""),
        )
    write_table(layout.image_shard(shard), index)
    good = index["image_id"][index["status"] == "ok"]
    typer.echo(
        f"{layout.image_shard(shard)}: {new_and_kept(map(layout.sidecar, good))}, {len(index) - len(good)} excluded"
    )


@app.command("cohort")
def cohort_command(
    results: Results,
    name: Annotated[str, typer.Option(help="The cohort's name.")],
    images: Images,
    pairs: Annotated[Path, typer.Option(help="The cohort's pairs.tsv.")],
    settings: Annotated[
        str,
        typer.Option(
            help='JSON: {"shards": {...}, "models": [...], "retrain": null, "exclude_rated": null}; '
            "models: those to train."
        ),
    ] = '{"shards": {"images": 1, "pairs": 1}, "models": [], "retrain": null, "exclude_rated": null}',
    config: Config = None,
    ratings: Annotated[
        Path | None, typer.Option(help="A report's qc.tsv, of which exclude_rated leaves pairs out.")
    ] = None,
) -> None:
    """Gather what preprocessing left of a cohort: images.tsv, pairs.tsv and its shards, excluded.tsv, cohort.json."""
    from cohortreg.config import Ratings, part, ratings_left_out
    from cohortreg.importers.folders import counted
    from cohortreg.importers.split import splits_in_words
    from cohortreg.jobs.cohort import merge_cohort
    from cohortreg.settings import Text

    kind = part(
        "shards",
        "retrain",
        models=list[Text],
        exclude_rated=(Ratings | None, None),
        inits=(dict[str, dict[str, str]], {}),
    )
    configuration: Any = configured("", config) if config else parsed(settings, kind)
    if config:
        models, inits = configuration.to_train(), configuration.inits_to_train()
    else:
        models = configuration.models
        inits = {model: init["folder"] for model, init in configuration.inits.items()}
    left_out = ratings_left_out(configuration.exclude_rated)
    shards, retrain = configuration.shards, configuration.retrain
    summary = merge_cohort(
        Layout(results), name, images, pairs, shards, models, retrain, ratings, left_out, inits
    )
    typer.echo(
        f"{name}: {summary['images']} images ({splits_in_words(summary)}), {summary['pairs']} pairs; "
        f"{counted(summary['excluded_images'], 'image')} and {counted(summary['excluded_pairs'], 'pair')} excluded"
    )
    for warning in summary["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _import(read: "Callable[[Callable[[str], None]], Found]", output: Path, draw: Draw | None) -> None:
    """Add to the tables in a folder what an importer reads, given what is to be called with each sentence."""
    from cohortreg.importers.importing import import_tables

    sentences: list[str] = []
    added = import_tables(partial(read, sentences.append), output, draw)
    added.sentences[:0] = sentences
    _echo(output, added)


def _echo(output: Path, added: "Added") -> None:
    """Say what tables hold, what of it is new, and what is odd."""
    from cohortreg.importers.folders import counted
    from cohortreg.importers.split import splits_in_words

    counts = added.images["split"].value_counts()
    typer.echo(
        f"{output}: {len(added.images)} images ({splits_in_words(counts)}), {counted(len(added.pairs), 'pair')}"
    )
    kept = len(added.images) - added.new_images, len(added.pairs) - added.new_pairs
    if any(kept):
        typer.echo(
            f"{counted(added.new_images, 'image')} added, {kept[0]:,} kept; "
            f"{counted(added.new_pairs, 'pair')} added, {kept[1]:,} kept"
        )
    for sentence in added.sentences:
        typer.echo(sentence)


@app.command("check")
def check_command(
    images: Annotated[Path, typer.Argument(help="The cohort's images.tsv.")],
    root: Root,
    output: Output,
    settings: Annotated[
        str,
        typer.Option(
            help="JSON, as of `cohortreg preprocess`; of preprocess.grid only the number of axes counts, "
            "without it, images may have any."
        ),
    ] = '{"preprocess": {}, "structures": {}}',
    config: Config = None,
    on_bad_image: Annotated[
        OnBadImage,
        typer.Option(help="Whether a bad image only stands in the table, or the exit code is 1 as well."),
    ] = "fail",
) -> None:
    """Open every image and label of a cohort: what cannot be used, what is odd, and a picture of all."""
    from cohortreg.cohort.tables import read_images
    from cohortreg.config import CheckedPreprocess, expand_root, part
    from cohortreg.jobs.check import check_cohort

    layout, rows = CheckLayout(output), read_images(images)
    kind = part("structures", preprocess=CheckedPreprocess)
    configuration: Any = configured("", config) if config else parsed(settings, kind)
    with progress_bar("Checking", len(rows)) as advance:
        checked, notes = check_cohort(
            layout,
            rows,
            expand_root(root),
            configuration.preprocess,
            configuration.structures,
            report=lambda image_id, reason: advance(f"bad {image_id}: {reason}" if reason else ""),
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    counts = Counter(image.status for image in checked)
    typer.echo(
        f"{len(checked)} images: {counts['ok']} ok, {counts['warning']} with warnings, {counts['bad']} bad; "
        f"open {layout.sheets(len(checked))[0]} and {layout.table}"
    )
    if counts["bad"] and on_bad_image == "fail":
        raise UserError(
            f"{counts['bad']} of {len(checked)} images cannot be used; see {layout.table} for the reasons."
        )
