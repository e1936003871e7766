"""Commands for two images and for transforms: register, apply, invert, compose, measure, jacobian, export."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cohortreg.cli import app
from cohortreg.cli.options import Results, Seed, Threads, plain
from cohortreg.cli.progress import progress_bar
from cohortreg.errors import UserError
from cohortreg.files import check_outputs
from cohortreg.importers.registry import Side
from cohortreg.layout import Layout

if TYPE_CHECKING:
    import numpy as np

    from cohortreg.maps.exchange import Read

TransformFile = Annotated[
    Path,
    typer.Argument(
        help="A displacement field, a transform of ITK's or one of a cohort's results, from the fixed to the moving "
        "image."
    ),
]

Reference = Annotated[
    Path | None,
    typer.Option("--reference", "--fixed", help="An image whose grid the result has; the field's if none."),
]
WRITTEN = "What to write: .nii.gz (a field), .h5, .hdf5 or .tfm; of an affine transform also .mat."

MASKED = (
    "outside of a mask an image is made black, which counts like any of its voxels: the mask's outline is registered, "
    "too."
)
MASK = "Where this is zero the image is made black, and counts as black."

#: What INPUT of `apply` is no image by its name; of some of these nothing is read, but they are no images.
POINTS = (".csv", ".tsv", ".json", ".fcsv", ".vtk", ".vtp", ".stl", ".ply", ".obj")


#: Axes of coordinates.
Frame = Literal["LPS", "RAS"]
#: In Lightning Fabric's terms.
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
#: What `export` writes, as the files' names end.
Format = Literal["nii.gz", "h5", "tfm", "learn2reg", "learn2reg.npz"]


@app.command("register")
def register_command(
    moving_image: Annotated[
        Path | None, typer.Argument(metavar="MOVING", help="The image that is warped.")
    ] = None,
    fixed_image: Annotated[
        Path | None, typer.Argument(metavar="FIXED", help="The image that it is warped onto.")
    ] = None,
    moving: Annotated[Path | None, typer.Option("--moving", help="The same as MOVING.")] = None,
    fixed: Annotated[Path | None, typer.Option("--fixed", help="The same as FIXED.")] = None,
    model: Annotated[
        str,
        typer.Option(
            help="Folder of a model's stage, its weights, published weights; or a method that needs no training, see "
            "docs/methods.md."
        ),
    ] = "fit",
    transform_out: Annotated[
        Path | None,
        typer.Option(
            "--transform-out",
            "--transform_out",
            help="The transform: .nii.gz (a field), .h5, .hdf5 or .tfm; an affine one also .mat.",
        ),
    ] = None,
    inverse_out: Annotated[
        Path | None, typer.Option("--inverse-out", help="The transform from the moving to the fixed image.")
    ] = None,
    warped_out: Annotated[
        Path | None,
        typer.Option(
            "--warped-moving-out",
            "--warped_moving_out",
            help="The moving image, warped onto the fixed one: .nii.gz, .nii, .mha or .nrrd.",
        ),
    ] = None,
    moving_mask: Annotated[
        Path | None, typer.Option("--moving-mask", "--moving_segmentation", help=MASK)
    ] = None,
    fixed_mask: Annotated[
        Path | None, typer.Option("--fixed-mask", "--fixed_segmentation", help=MASK)
    ] = None,
    moving_side: Annotated[
        Side | None,
        typer.Option(help="Side of the body: left ones are mirrored, or right ones where a model asks it."),
    ] = None,
    fixed_side: Annotated[Side | None, typer.Option(help="The same of the fixed image.")] = None,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Refine what --model finds as the method fit does, whose settings --settings then has.",
        ),
    ] = False,
    io_iterations: Annotated[
        str,
        typer.Option(
            "--io-iterations", "--io_iterations", help="Steps of instance optimisation; 0 or None: none."
        ),
    ] = "0",
    io_sim: Annotated[
        str,
        typer.Option(
            "--io-sim", "--io_sim", help="Its similarity, lncc for instance; the model's own if none."
        ),
    ] = "",
    io_learning_rate: Annotated[float, typer.Option(min=0, help="Its learning rate.")] = 2e-5,
    grid: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            help="Voxels that images are brought to: for published weights, or to be faster without a model."
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="For published weights of no known release: where the axes of the arrays that they learnt from run "
            "to; RAS if none."
        ),
    ] = None,
    settings: Annotated[str, typer.Option(help="JSON: settings of a method without training.")] = "{}",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="What networks compute in; auto: in half precision on GPUs that do."),
    ] = "auto",
    seed: Seed = 1,
    threads: Threads = 2,
) -> None:
    """Register two images of any geometry, by default without a trained model.

    Where no output is named, the transform and the warped moving image are written into the folder that the command
    runs in, as MOVING_to_FIXED.nii.gz and MOVING_on_FIXED.nii.gz, unless something is there already.
    """
    from cohortreg.cli.training import use_processor, warn_of_precision
    from cohortreg.images.convert import name_of, to_image
    from cohortreg.learning.devices import Device
    from cohortreg.methods.registry import PAIRWISE
    from cohortreg.pairs.models import load
    from cohortreg.pairs.registration import check_savable, register

    moving, fixed = moving_image or moving, fixed_image or fixed
    if not (moving and fixed):
        raise UserError(f"{'FIXED' if moving else 'MOVING'} is missing; see cohortreg register --help.")
    outputs = transform_out, inverse_out, warped_out
    if not any(outputs):
        outputs = _outputs_named_after(name_of(moving, ""), name_of(fixed, ""))
    inputs = moving, fixed, moving_mask, fixed_mask, None if model in PAIRWISE else Path(model)
    check_savable(outputs, inputs)
    use_processor(threads)
    if model not in PAIRWISE:
        device = Device(accelerator, precision)
        warn_of_precision(device.device, device.precision)
    raw_moving, raw_fixed = to_image(moving), to_image(fixed)
    optimisation: dict[str, Any] = {"steps": _iterations(io_iterations), "learning_rate": io_learning_rate}
    if io_sim:
        optimisation["similarity"] = io_sim
    loaded = load(
        model,
        settings=plain(settings),
        grid=grid,
        axes=axes,
        fit=fit,
        optimisation=optimisation,
        device=accelerator,
        precision=precision,
        seed=seed,
        threads=threads,
    )
    check_savable(outputs, inputs, loaded.deforms, loaded.has_inverse)
    if model not in PAIRWISE and loaded.mirror != "none" and not (moving_side and fixed_side):
        typer.echo(
            f"{loaded.mirror} images are mirrored for {model} where --moving-side and --fixed-side say so; an image "
            "without a side is not mirrored.",
            err=True,
        )
    with progress_bar(f"Registering with {model}", loaded.steps(raw_fixed)) as advance:
        registered = register(
            raw_moving,
            raw_fixed,
            loaded,
            moving_mask=moving_mask,
            fixed_mask=fixed_mask,
            moving_side=moving_side or "",
            fixed_side=fixed_side or "",
            progress=lambda done, total, words: advance(words, done),
        )
    if moving_mask or fixed_mask:
        typer.echo(MASKED, err=True)
    registered.save(*outputs)
    typer.echo(f"{registered.quality}")
    _echo_outputs(outputs, moving, fixed)


def _echo_outputs(outputs: Sequence[Path | None], moving: Path, fixed: Path) -> None:
    """Say what each file has: the transform, its inverse, the warped image."""
    words = (
        f"the transform, which warps {moving} onto {fixed}",
        f"the transform, which warps {fixed} onto {moving}",
        f"the moving image on the fixed one's grid; open it over {fixed}",
    )
    for path, content in zip(outputs, words, strict=True):
        if path:
            typer.echo(f"{path}: {content}")


def _outputs_named_after(moving: str, fixed: str) -> tuple[Path, None, Path]:
    """Name files for the transform and the warped image in the current folder; there is none for the inverse.

    Raises:
        UserError: One of them is there.
    """
    transform, warped = Path(f"{moving}_to_{fixed}.nii.gz"), Path(f"{moving}_on_{fixed}.nii.gz")
    for path in (transform, warped):
        if path.exists():
            raise UserError(
                f"{path} already exists; move it elsewhere, or name --transform-out and --warped-moving-out."
            )
    return transform, None, warped


def _iterations(text: str) -> int:
    if text.strip().lower() == "none":
        return 0
    if not text.strip().isdigit():
        raise UserError(f"--io-iterations must be a whole number or None, but is '{text}'.")
    return int(text)


@app.command("apply")
def apply_command(
    transform: TransformFile,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="The moving image or its label map; or points of the fixed image: .csv, .mrk.json, .vtk, .stl.",
        ),
    ],
    output: Annotated[
        Path, typer.Argument(help="What to write: .nii.gz, .nii, .mha, .nrrd, or the points' own kind.")
    ],
    reference: Reference = None,
    label: Annotated[
        bool | None,
        typer.Option(
            "--label/--linear",
            "--nearest_neighbor",
            help="INPUT is a label map: values are not mixed. Or it is none, though it has few values.",
            show_default=False,
        ),
    ] = None,
    background: Annotated[float, typer.Option(help="Value where the transform leads out of the image.")] = 0,
    frame: Annotated[
        Frame | None, typer.Option(help="Axes of points whose file does not say it; LPS if none.")
    ] = None,
    any_image: Annotated[
        bool,
        typer.Option(
            "--any-image", help="Warp an image elsewhere in space than the one it was made for, too."
        ),
    ] = False,
) -> None:
    """Apply a transform: to the moving image, which comes onto the fixed one, or to points of the fixed image.

    Points go the other way than images: of the fixed image's, to where they are in the moving one. The inverse
    transform takes points of the moving image to the fixed one.
    """
    from cohortreg.images.io import check_image_name
    from cohortreg.maps.exchange import read
    from cohortreg.pairs.transforms import warp

    check_outputs([output], [transform, source, reference])
    opened = read(transform)
    if source.name.lower().endswith(POINTS):
        _apply_to_points(opened, source, output, frame)
        return
    check_image_name(output)
    warped = warp(source, opened, reference, label=label, background=background, any_image=any_image)
    warped.save(output)
    typer.echo(f"{output}: {source.name} on a grid of {' x '.join(map(str, warped.shape))} voxels")


def _apply_to_points(opened: "Read", source: Path, output: Path, frame: Frame | None) -> None:
    """Move the points of a file, and report how many lie where the transform is undefined."""
    from cohortreg.maps.apply import mirrors, move
    from cohortreg.maps.points import move_points

    if opened.transform.GetDimension() != 3:
        raise UserError(f"{source}: points have x, y and z, and the transform is 2D; give a 3D one.")
    beyond = 0

    def mover(points: "np.ndarray") -> "np.ndarray":
        nonlocal beyond
        beyond += int((~opened.grid.contains(points)).sum()) if opened.grid else 0
        return move(points, opened.transform)

    count = move_points(source, output, mover, frame or "", mirrors(opened.transform, opened.grid))
    typer.echo(f"{output}: {count} points")
    if beyond:
        typer.echo(f"{beyond} of them lie beyond the transform's grid and stayed where they were.", err=True)


@app.command("invert")
def invert_command(
    transform: TransformFile,
    output: Annotated[Path, typer.Argument(help=WRITTEN)],
    reference: Annotated[
        Path | None,
        typer.Option("--reference", "--moving", help="The moving image, where the transform does not tell."),
    ] = None,
) -> None:
    """Invert a transform: exactly where it is affine, otherwise on the moving image's voxels."""
    from cohortreg.maps.exchange import check_name, read, write
    from cohortreg.pairs.transforms import inversion

    check_name(output)
    check_outputs([output], [transform, reference])
    inverse, pair = inversion(read(transform), reference)
    write(output, inverse.transform, pair)
    accuracy = (
        f", off by {inverse.mean_error:.2g} mm on average and {inverse.largest_error:.2g} mm at most"
        if inverse.voxels > inverse.unreached
        else ""
    )
    typer.echo(f"{output}: the inverse of {transform.name}{accuracy}")
    if inverse.unreached:
        typer.echo(
            f"{inverse.unreached:,} of {inverse.voxels:,} voxels of the moving image are not reached from the fixed "
            "one's voxels; there, the inverse is extrapolated.",
            err=True,
        )


@app.command("compose")
def compose_command(
    transforms: Annotated[
        list[Path],
        typer.Argument(
            metavar="A_TO_B B_TO_C... OUTPUT",
            help="Transforms that warp an image one after the other, and the one to write that does so at once.",
        ),
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", "--fixed", help="The last fixed image, where its transform's file does not tell."
        ),
    ] = None,
) -> None:
    """Compose transforms, so that an image is interpolated once; affine ones stay affine."""
    from cohortreg.images.convert import to_grid
    from cohortreg.maps.algebra import domain_of, leaving
    from cohortreg.maps.exchange import Pair, check_name, read, write
    from cohortreg.pairs.transforms import composition

    *steps, output = transforms
    if len(steps) < 2:
        raise UserError("compose takes two transforms or more, and then the name of the file to write.")
    check_name(output)
    check_outputs([output], [*steps, reference])
    if output.exists():  # the last transform, where the name of the file to write was forgotten
        raise UserError(
            f"{output} already exists, and the last name is that of the file to write; give another."
        )
    composed = composition([read(step) for step in steps])
    pair = composed.pair
    if reference:
        grid = to_grid(reference)
        pair = Pair(pair.moving if pair else grid, grid)
    write(output, composed.transform, pair)
    typer.echo(f"{output}: {' and then '.join(step.name for step in steps)}")
    last = pair.fixed if pair else domain_of(composed.transform)
    if last and (count := leaving(composed.transform, last)):
        typer.echo(
            f"{count:,} of {math.prod(last.shape):,} voxels of the last fixed image lead out of a displacement field "
            "on the way, which is the identity there, as in ITK.",
            err=True,
        )


@app.command("measure")
def measure_command(
    transform: TransformFile,
    moving_label: Annotated[Path, typer.Argument(help="Label map of the moving image.")],
    fixed_label: Annotated[Path, typer.Argument(help="Label map of the fixed image.")],
    structure: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, or NAME=VALUE,VALUE; several times. Every label value if none."),
    ] = None,
) -> None:
    """Measure how well labels agree once the moving one is warped: Dice, and the 95 % Hausdorff distance in mm."""
    from cohortreg.evaluation.measures import BY_KEY
    from cohortreg.pairs.measures import measure

    measured = measure(transform, moving_label, fixed_label, _structures(structure))
    for column, value in measured.items():
        unit = "\tmm" if BY_KEY[column.partition("_")[0]].unit == "mm" else ""  # Dice is from 0 to 1
        typer.echo(f"{column}\t{value:.6g}{unit}")


def _structures(texts: Sequence[str] | None) -> dict[str, list[int]] | None:
    """The label values of the structures that --structure names, by name; None for none."""
    structures = {}
    for text in texts or ():
        name, _, values = text.partition("=")
        if not name or not all(part.strip().isdigit() for part in values.split(",")):
            raise UserError(f"--structure {text}: give a name and label values, such as cartilage=2,4.")
        structures[name] = [int(part) for part in values.split(",")]
    return structures or None


@app.command("jacobian")
def jacobian_command(
    transform: TransformFile,
    output: Annotated[Path, typer.Argument(help="The image to write: .nii.gz, .nii, .mha or .nrrd.")],
    reference: Reference = None,
    log: Annotated[
        bool, typer.Option("--log", help="Its logarithm; not a number where the map folds.")
    ] = False,
) -> None:
    """Write the determinant of a transform's Jacobian: above 1 where the moving image shrinks, below where it grows."""
    import numpy as np

    from cohortreg.images.convert import to_grid
    from cohortreg.images.image import Image
    from cohortreg.images.io import check_image_name, write_image
    from cohortreg.maps.apply import check_axes
    from cohortreg.maps.exchange import read
    from cohortreg.maps.jacobian import determinant
    from cohortreg.maps.transforms import field_of

    check_image_name(output)
    check_outputs([output], [transform, reference])
    opened = read(transform)
    grid = to_grid(reference) if reference else opened.grid
    if grid is None:
        raise UserError(f"{transform} has no grid of its own; name the fixed image with --reference.")
    check_axes(opened.transform, reference=grid)
    values = determinant(field_of(opened.transform, grid))
    sign = -1.0 if np.median(values) < 0 else 1.0
    folded = int((sign * values <= 0).sum())
    if log:
        upright = np.where(sign * values > 0, sign * values, np.nan)
        values = np.log(upright).astype(np.float32)
    write_image(output, Image(values, grid.affine))
    mirrored = "; the transform mirrors, so that values are negative where it does not fold" * (sign < 0)
    typer.echo(f"{output}: {folded} of {values.size} voxels fold{mirrored}")


@app.command("export")
def export_command(
    results: Results,
    method: Annotated[str, typer.Option(help="Row of the tables: fit, icon-2step, ...")],
    output: Annotated[Path | None, typer.Option(help="Folder to write to.")] = None,
    bids: Annotated[
        Path | None,
        typer.Option(
            help="Instead of --output: folder to write to, as derivatives in BIDS, with fMRIPrep's names."
        ),
    ] = None,
    kind: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="nii.gz: displacement fields. h5, tfm: ITK's. learn2reg: arrays in voxels as .nii.gz, or as .npz.",
            show_default="nii.gz; with --bids h5",
        ),
    ] = None,
    warped: Annotated[bool, typer.Option("--warped", help="Write the warped raw images too.")] = False,
    labels: Annotated[bool, typer.Option("--labels", help="Write the warped raw label maps too.")] = False,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of the raw images.", show_default="the configuration's"),
    ] = None,
    suffix: Annotated[
        str,
        typer.Option(
            help="With --bids --warped: what images are, such as T1w, where their names do not say it."
        ),
    ] = "",
    moving: Annotated[str, typer.Option(help="Of this moving image only.")] = "",
    fixed: Annotated[str, typer.Option(help="Of this fixed image only.")] = "",
) -> None:
    """Write a cohort's transforms between raw images, forward and inverse, in files that other programs read.

    Mirroring, resampling, padding and cropping are undone. MOVING_to_FIXED warps the raw moving image onto the raw
    fixed one; disp_FIXED_MOVING is Learn2Reg's name for the same, from-MOVING_to-FIXED that of BIDS.
    """
    from collections import Counter

    from cohortreg.jobs.export import LABELS, WARPED, Export, exported_pairs

    folder = bids or output
    if folder is None or (bids and output):
        raise UserError("give either --output or --bids.")
    if bids and kind in ("learn2reg", "learn2reg.npz"):
        raise UserError(
            "--bids has transforms as .h5, .tfm or .nii.gz; write Learn2Reg's arrays with --output."
        )
    if suffix and not (bids and warped):
        raise UserError("--suffix is for --bids with --warped.")
    layout = Layout(results)
    pairs = exported_pairs(layout, moving, fixed)
    images = [name for name, wanted in ((WARPED, warped), (LABELS, labels)) if wanted]
    written_as = kind or ("h5" if bids else "nii.gz")
    export = Export(layout, method, folder, written_as, bids is not None, images, root, suffix)
    export.begin(pairs)
    counts, lacking = Counter[str](), []
    with progress_bar(f"Exporting {method}", len(pairs)) as advance:
        for ids in pairs:
            written = export.pair(*ids)
            counts.update(written)
            if not written:
                lacking.append(" to ".join(ids))
            advance()
    beside = "".join(f", {counts[name]} warped {name}s" for name in images)
    typer.echo(f"{folder}: {counts['transform']} transforms of {len(pairs)} pairs{beside}")
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(pairs)} pairs have no transform of {method}, the first of them {lacking[0]}; "
            f"register them, or see {layout.pairs_table} for why they failed."
        )
