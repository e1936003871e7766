"""Commands that import, generate and preprocess a cohort."""

import os
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated, NamedTuple

import typer

from cohortreg.cli import app
from cohortreg.cli.options import Config, Output, Results, Seed, configured, parsed
from cohortreg.cli.progress import new_and_kept, progress_bar
from cohortreg.errors import UserError

importers = typer.Typer(
    no_args_is_help=True, help="Add to a cohort's images.tsv and pairs.tsv what is new, or import a model."
)
app.add_typer(importers, name="import")


class OnBadImage(StrEnum):
    """What to do about a bad image."""

    exclude = "exclude"
    fail = "fail"


class Side(StrEnum):
    """Side of the body."""

    left = "left"
    right = "right"


ValidationFraction = Annotated[
    float, typer.Option(min=0, max=1, help="Part of the subjects to measure on while networks are trained.")
]


def _row_name(folder: Path) -> str:
    """Name the row of a model after its folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in folder.name.lower()) or "published"


TestFraction = Annotated[float, typer.Option(min=0, max=1, help="Part of the subjects to test on.")]
Tables = Annotated[Path, typer.Option(help="Folder for images.tsv and pairs.tsv.")]
TestPairs = Annotated[int, typer.Option(min=1, help="Test pairs to draw.")]


class Importer(NamedTuple):
    """An importer of a folder that has no options of its own: module and function, and the help of its command.

    The function, below `cohortreg.importers`, takes and returns what `msd.import_msd` does.
    """

    path: str
    folder: str
    about: str


#: Importers of folders, by the names of their commands.
IMPORTERS = {
    "msd": Importer(
        "msd.import_msd",
        folder="A folder with dataset.json, imagesTr and labelsTr.",
        about="Import a folder in the layout of the Medical Segmentation Decathlon; paths are relative to it.",
    ),
}


def _register(name: str, importer: Importer) -> None:
    @importers.command(name, help=importer.about)
    def command(
        folder: Annotated[Path, typer.Argument(help=importer.folder)],
        output: Tables,
        test_fraction: TestFraction = 0.2,
        validation_fraction: ValidationFraction = 0,
        pairs: TestPairs = 100,
        seed: Seed = 1,
    ) -> None:
        """Import a folder with the function of the importer."""
        function = resolve_name(
            "cohortreg.importers.{}:{}".format(*importer.path.split("."))
        )  # raises ImportErrors
        given = folder, test_fraction, pairs, seed
        _import(output, partial(function, *given, validation_fraction=validation_fraction), pairs, folder)


for _name, _importer in IMPORTERS.items():
    _register(_name, _importer)


@importers.command("bids")
def import_bids_command(
    folder: Annotated[Path, typer.Argument(help="A folder with sub-*/[ses-*/]anat/.")],
    output: Tables,
    suffix: Annotated[
        str, typer.Option(help="Which images, such as T1w; needed where there are several.")
    ] = "",
    test_fraction: TestFraction = 0.2,
    validation_fraction: ValidationFraction = 0,
    pairs: TestPairs = 100,
    seed: Seed = 1,
) -> None:
    """Import the anatomical images of a folder in the Brain Imaging Data Structure; paths are relative to it."""
    from cohortreg.importers.bids import import_bids

    given = folder, suffix, test_fraction, pairs, seed
    _import(output, partial(import_bids, *given, validation_fraction=validation_fraction), pairs, folder)


@importers.command("oai-split")
def import_oai_split_command(
    lists: Annotated[list[Path], typer.Argument(help="Published lists of pairs, such as that of the tests.")],
    output: Annotated[Path, typer.Option(help="Folder for images.tsv, pairs.tsv and missing.tsv.")],
    root: Annotated[Path, typer.Option(help="Folder below which the images and labels are.")] = Path(
        "resources/oai"
    ),
    images: Annotated[
        Path | None, typer.Option(help="The images.tsv that import oai wrote of the archive at root.")
    ] = None,
    as_published: Annotated[
        bool, typer.Option("--as-published", help="Keep repeated pairs and images with themselves.")
    ] = False,
) -> None:
    """Import the published lists of pairs of OAI knees; paths are relative to root."""
    from cohortreg.importers.additions import read_before
    from cohortreg.importers.oai_split import import_oai_split

    imported = import_oai_split(lists, root, images, as_published, read_before(output))
    others = {"missing.tsv": imported.missing}
    _add_to_tables(output, imported.images, imported.pairs, None, others, imported.said)


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
    card = import_weights(file, output, grid, axes, percentiles, mirror and mirror.value, published)
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
    from cohortreg.importers.additions import read_before
    from cohortreg.phantoms.phantom import phantom_tables

    tables = phantom_tables(subjects, test, pairs, seed, before=read_before(output))
    _add_to_tables(output, *tables, asked=pairs)


@importers.command("label-maps")
def import_label_maps_command(
    folder: Annotated[Path, typer.Argument(help="Label maps named SUBJECT_VISIT_label.nii.gz.")],
    output: Tables,
    side: Annotated[Side, typer.Option(help="Which knee all of them are.")] = Side.right,
    test_fraction: TestFraction = 0.3,
    validation_fraction: ValidationFraction = 0,
    pairs: Annotated[int, typer.Option(min=1, help="Test pairs of two subjects to draw.")] = 60,
    seed: Seed = 1,
) -> None:
    """Write the tables of a cohort whose images the workflow makes from label maps, see phantom.labels."""
    from cohortreg.importers.label_maps import import_label_maps

    given = folder, side.value, test_fraction, pairs, seed
    _import(output, partial(import_label_maps, *given, validation_fraction=validation_fraction), pairs)


@importers.command("oai")
def import_oai_command(
    folder: Annotated[Path, typer.Argument(help="The Osteoarthritis Initiative's archive, or a part of it.")],
    output: Annotated[Path, typer.Option(help="Folder for images.tsv, pairs.tsv and left-out.tsv.")],
    labels: Annotated[Path | None, typer.Option(help="Folder of the label maps; FOLDER if none.")] = None,
    test_fraction: TestFraction = 0.2,
    pairs: TestPairs = 100,
    seed: Seed = 1,
    repeated: Annotated[
        bool, typer.Option("--repeated", help="Keep repeated scans of a knee and day, for import oai-split.")
    ] = False,
) -> None:
    """Import DESS series and label maps from OAI's folders and .tar.gz files; paths are relative to FOLDER."""
    from cohortreg.files import check_writable
    from cohortreg.importers.additions import read_before
    from cohortreg.importers.oai import import_oai

    check_writable(output / "images.tsv")  # before an hour's work
    before = read_before(output)
    *tables, left_out = import_oai(
        folder, labels, output, test_fraction, pairs, seed, progress_bar, repeated, before
    )
    _add_to_tables(output, *tables, folder, {"left-out.tsv": left_out}, asked=pairs)
    counts, labelled = left_out["kind"].value_counts(), int(tables[0]["label"].ne("").sum())
    typer.echo(
        f"{labelled} of the images have a label; {counts.get('image', 0)} images and "
        f"{counts.get('label', 0)} labels left out, see {output / 'left-out.tsv'}"
    )


@app.command("phantom")
def phantom_command(
    images: Annotated[Path, typer.Argument(help="A table of images to make, such as the demo's images.tsv.")],
    output: Annotated[Path, typer.Argument(help="Folder that the table's paths start from.")],
    settings: Annotated[
        str,
        typer.Option(help='JSON: {"grid": [...], "spacing": [...]}, or {"labels": FOLDER}; or a file of it.'),
    ] = "",
    config: Config = None,
    shard: Annotated[int, typer.Option(min=0, help="Which shard of the images, from 0.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="How many shards there are.")] = 1,
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

    if config:
        given = configured(settings, config).phantom
        if given is None:
            raise UserError("--config has no phantom, so there are no images to generate.")
    else:
        given = parsed(settings, Phantom)
    table = shard_rows(read_images(images), shard, shards)
    with progress_bar("Phantoms", len(table)) as advance:
        made = make_phantoms(table, output, given, seed, report=lambda image_id: advance())
    if record:
        write_json(record, made)


@app.command("phantom-anatomy")
def phantom_anatomy_command(
    output: Annotated[Path, typer.Argument(help="The label map to write, .nii.gz.")],
    identifier: Annotated[str, typer.Option("--id", help="Who it is: another name is another anatomy.")],
    side: Annotated[Side, typer.Option(help="Which knee.")] = Side.right,
    grid: Annotated[tuple[int, int, int], typer.Option(help="Voxels along right, anterior, superior.")] = (
        48,
        96,
        96,
    ),
    spacing: Annotated[tuple[float, float, float], typer.Option(help="Size of a voxel, millimetres.")] = (
        2.3,
        1.46,
        1.46,
    ),
    seed: Seed = 1,
) -> None:
    """Make one phantom's anatomy: a label map of a knee."""
    from cohortreg.images.io import write_image
    from cohortreg.phantoms.anatomy import anatomy

    write_image(output, anatomy(seed, identifier, side.value, grid, spacing))


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
    images: Annotated[Path, typer.Option(help="The cohort's images.tsv.")],
    root: Annotated[
        str, typer.Option(help="Folder that the table's paths start from; $VARIABLES are expanded.")
    ],
    settings: Annotated[str, typer.Option(help='JSON: {"preprocess": {...}, "structures": {...}}.')] = "",
    config: Config = None,
    shard: Annotated[int, typer.Option(min=0, help="Which shard of the images, from 0.")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="How many shards there are.")] = 1,
    on_bad_image: Annotated[
        OnBadImage, typer.Option(help="Leave a bad image out, or stop.")
    ] = OnBadImage.exclude,
) -> None:
    """Bring a shard of the images to one orientation, side, grid and range of grey values."""
    from cohortreg.cohort.shards import shard_rows
    from cohortreg.cohort.tables import read_images, write_table
    from cohortreg.config import expand_root
    from cohortreg.images.preprocess import Settings
    from cohortreg.jobs.preprocess import preprocess_shard
    from cohortreg.layout import Layout

    layout = Layout(results)
    given = configured(settings, config, "preprocess", "structures")
    section, structures = Settings(**dict(given.preprocess)), given.structures
    rows = shard_rows(read_images(images), shard, shards)
    with progress_bar("Preprocessing", len(rows)) as advance:
        index = preprocess_shard(
            layout,
            rows,
            expand_root(root),
            section,
            structures,
            fail=on_bad_image is OnBadImage.fail,
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
    images: Annotated[Path, typer.Option(help="The cohort's images.tsv.")],
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
    from cohortreg.layout import Layout
    from cohortreg.settings import Text

    kind = part(
        "shards",
        "retrain",
        models=list[Text],
        exclude_rated=(Ratings | None, None),
        inits=(dict[str, dict[str, str]], {}),
    )
    given = configured("", config) if config else parsed(settings, kind)
    inits = given.inits_to_train() if config else {name: init["folder"] for name, init in given.inits.items()}
    summary = merge_cohort(
        Layout(results),
        name,
        images,
        pairs,
        given.shards,
        given.to_train() if config else given.models,
        given.retrain,
        ratings,
        ratings_left_out(given.exclude_rated),
        inits,
    )
    typer.echo(
        f"{name}: {summary['images']} images ({splits_in_words(summary)}), "
        f"{summary['pairs']} pairs; "
        f"{counted(summary['excluded_images'], 'image')} and {counted(summary['excluded_pairs'], 'pair')} excluded"
    )
    for warning in summary["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _import(output: Path, importer: Callable, asked: int, folder: Path | None = None) -> None:
    """Add to the tables what an importer finds, given those there are; see `_add_to_tables`."""
    from cohortreg.importers.additions import read_before

    said: list[str] = []
    tables = importer(before=read_before(output), say=said.append)
    _add_to_tables(output, *tables, folder, said=said, asked=asked)


def _add_to_tables(output: Path, images, pairs, folder=None, others=None, said=(), asked=0) -> None:
    """Add what an import found to the tables, and say what they hold, what is new, and `said`; see `additions.add`.

    asked: how many pairs there were to be.
    """
    from cohortreg.cohort.tables import with_sets
    from cohortreg.importers.additions import add
    from cohortreg.importers.folders import counted
    from cohortreg.importers.split import splits_in_words

    added = add(output, images, pairs, folder, others)
    counts = added.images["split"].value_counts()
    typer.echo(f"{output}: {len(added.images)} images ({splits_in_words(counts)}), {len(added.pairs)} pairs")
    kept = len(added.images) - added.new_images, len(added.pairs) - added.new_pairs
    if any(kept):
        typer.echo(
            f"{counted(added.new_images, 'image')} added, {kept[0]:,} kept; "
            f"{counted(added.new_pairs, 'pair')} added, {kept[1]:,} kept"
        )
    main = int((with_sets(added.pairs)["set"] == "").sum())
    if kept[1] and main < asked:
        typer.echo(
            f"{counted(main, 'pair')} of {asked:,} asked for: where there are pairs, only new test images get more; "
            "to have all drawn anew, move pairs.tsv elsewhere and import again."
        )
    for sentence in [*said, *added.said]:
        typer.echo(sentence)


@app.command("check")
def check_command(
    images: Annotated[Path, typer.Argument(help="The cohort's images.tsv.")],
    root: Annotated[
        str, typer.Option(help="Folder that the table's paths start from; $VARIABLES are expanded.")
    ],
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
    ] = OnBadImage.fail,
) -> None:
    """Open every image and label of a cohort: what cannot be used, what is odd, and a picture of all."""
    from cohortreg.cohort.tables import read_images
    from cohortreg.config import CheckedPreprocess, expand_root, part
    from cohortreg.images.preprocess import Settings
    from cohortreg.jobs.check import check_cohort
    from cohortreg.layout import CheckLayout

    layout, rows = CheckLayout(output), read_images(images)
    kind = part("structures", preprocess=CheckedPreprocess)
    given = configured("", config) if config else parsed(settings, kind)
    section = Settings(**dict(given.preprocess) | {"grid": given.preprocess.grid or []})
    structures = given.structures
    with progress_bar("Checking", len(rows)) as advance:
        checked, notes = check_cohort(
            layout,
            rows,
            expand_root(root),
            section,
            structures,
            report=lambda image_id, reason: advance(f"bad {image_id}: {reason}" if reason else ""),
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    counts = Counter(image.status for image in checked)
    typer.echo(
        f"{len(checked)} images: {counts['ok']} ok, {counts['warning']} with warnings, {counts['bad']} bad; "
        f"open {layout.sheets(len(checked))[0]} and {layout.table}"
    )
    if counts["bad"] and on_bad_image is OnBadImage.fail:
        raise UserError(
            f"{counts['bad']} of {len(checked)} images cannot be used; see {layout.table} for the reasons."
        )
