"""Commands for two images, and for using transforms elsewhere: register, apply, jacobian, export."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cohortreg.cli import app
from cohortreg.cli.cohort import Side
from cohortreg.cli.options import Results, Seed, Threads, plain
from cohortreg.cli.progress import progress_bar
from cohortreg.errors import UserError

if TYPE_CHECKING:
    from cohortreg.images.io import Image
    from cohortreg.jobs.two_images import RegisteredImages

TransformFile = Annotated[
    Path,
    typer.Argument(help="A displacement field, or a transform of ITK's, from the fixed to the moving image."),
]


#: What INPUT of `apply` is no image by its name; of some of these nothing is read, but they are no images.
POINTS = (".csv", ".tsv", ".json", ".fcsv", ".vtk", ".vtp", ".stl", ".ply", ".obj")


class Frame(StrEnum):
    """The axes of coordinates."""

    LPS = "LPS"
    RAS = "RAS"


class Precision(StrEnum):
    """Floating-point precision, in Lightning Fabric's terms."""

    auto = "auto"
    full = "32-true"
    bfloat = "bf16-mixed"
    half = "16-mixed"


class Format(StrEnum):
    """What `export` writes; the value is how the files' names end."""

    nifti = "nii.gz"
    h5 = "h5"
    tfm = "tfm"
    learn2reg = "learn2reg"
    learn2reg_npz = "learn2reg.npz"


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
            "--transform-out", "--transform_out", help="The transform: .nii.gz (a field), .h5, .hdf5 or .tfm."
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
        Path | None,
        typer.Option(
            "--moving-mask",
            "--moving_segmentation",
            help="Where this is zero the image is made black, and counts as black.",
        ),
    ] = None,
    fixed_mask: Annotated[
        Path | None,
        typer.Option(
            "--fixed-mask",
            "--fixed_segmentation",
            help="Where this is zero the image is made black, and counts as black.",
        ),
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
        str,
        typer.Option(
            help="For published weights: where the axes of the arrays that they learnt from run to."
        ),
    ] = "RAS",
    settings: Annotated[str, typer.Option(help="JSON: settings of a method without training.")] = "{}",
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(help="What networks compute in; auto: in half precision on GPUs that do."),
    ] = Precision.auto,
    seed: Seed = 1,
    threads: Threads = 2,
) -> None:
    """Register two raw images of any geometry; nothing is needed beside them, unless a model is to do it.

    Where no output is named, the transform and the warped moving image are written into the folder that the command
    runs in, as MOVING_to_FIXED.nii.gz and MOVING_on_FIXED.nii.gz, unless something is there already.
    """
    from cohortreg.cli.progress import progress_bar
    from cohortreg.cli.training import use_processor, warn_of_precision
    from cohortreg.images.io import read_image
    from cohortreg.jobs.two_images import masked, open_named, optimisation_of, register_images
    from cohortreg.learning.devices import Device
    from cohortreg.methods.registry import PAIRWISE

    paths = {"MOVING": moving_image or moving, "FIXED": fixed_image or fixed}
    if missing := [name for name, path in paths.items() if not path]:
        raise UserError(f"{missing[0]} is missing; see cohortreg register --help.")
    if not any((transform_out, inverse_out, warped_out)):
        transform_out, warped_out = _outputs_named_after(*paths.values())
    transforms = {"forward": transform_out, "inverse": inverse_out}
    _check_outputs(transforms, warped_out, [paths["MOVING"], paths["FIXED"], moving_mask, fixed_mask])
    use_processor(threads)
    images = [read_image(path) for path in (paths["MOVING"], paths["FIXED"])]
    optimisation = optimisation_of(_iterations(io_iterations), io_learning_rate, io_sim)
    device = Device(accelerator, precision.value)
    if model not in PAIRWISE:
        warn_of_precision(device.device, device.precision)
    opened, preprocessing = open_named(
        model,
        images[1],
        plain(settings),
        seed,
        threads,
        device,
        list(grid) if grid else None,
        axes,
        optimisation,
        fit,
    )
    sides = [side.value if side else "" for side in (moving_side, fixed_side)]
    if model not in PAIRWISE and preprocessing.mirror != "none" and not all(sides):
        typer.echo(
            f"{preprocessing.mirror} images are mirrored for {model} where --moving-side and --fixed-side say so; an "
            "image without a side is not mirrored.",
            err=True,
        )
    seen = [
        masked(image, mask) if mask else image
        for image, mask in zip(images, (moving_mask, fixed_mask), strict=True)
    ]
    if moving_mask or fixed_mask:
        typer.echo(
            "outside of a mask an image is made black, which counts like any of its voxels: the mask's outline is "
            "registered, too.",
            err=True,
        )
    # A method that takes its time says how many steps it has before it.
    steps = opened.steps(preprocessing.grid) if hasattr(opened, "steps") else 1
    with progress_bar(f"Registering with {model}", steps) as advance:
        if reports := hasattr(opened, "report"):
            opened.report = advance
            advance("(how the images lie)", 0)
        registered = register_images(
            opened, preprocessing, *seen, *sides, lambda: reports and advance("(what it achieved)", steps)
        )
    _write_registered(registered, images[0], transforms, warped_out)
    typer.echo(f"{registered.achieved}")
    if inverse_out and registered.inverse is None:
        raise UserError(
            f"{inverse_out} cannot be written: {model} computes no inverse; register the images in the opposite "
            "direction."
        )


def _outputs_named_after(moving: Path, fixed: Path) -> tuple[Path, Path]:
    """Files for the transform and the warped image in the current folder; raises UserError where one is there."""
    names = [path.name.split(".")[0] or path.resolve().name for path in (moving, fixed)]
    outputs = tuple(Path(f"{names[0]}_{word}_{names[1]}.nii.gz") for word in ("to", "on"))
    for path in outputs:
        if path.exists():
            raise UserError(
                f"{path} already exists; move it elsewhere, or name --transform-out and --warped-moving-out."
            )
    return outputs


def _check_outputs(
    transforms: Mapping[str, Path | None], warped_out: Path | None, inputs: Sequence[Path | None]
) -> None:
    """Raise UserError where an output of `register` cannot be written."""
    from cohortreg.files import check_writable
    from cohortreg.images.io import check_image_name
    from cohortreg.maps.exchange import check_name

    outputs = [path for path in (*transforms.values(), warped_out) if path]
    for path in filter(None, transforms.values()):
        check_name(path)
    if warped_out:
        check_image_name(warped_out)
    for path in outputs:
        check_writable(path)
    _check_distinct(outputs, inputs)


def _write_registered(
    registered: "RegisteredImages",
    moving: "Image",
    transforms: Mapping[str, Path | None],
    warped_out: Path | None,
) -> None:
    """Write the available transforms, and the raw moving image on the raw fixed image's grid."""
    from cohortreg.images.io import write_image
    from cohortreg.maps.apply import warp
    from cohortreg.maps.exchange import write

    pairs = {"forward": registered.pair, "inverse": registered.pair.swapped()}
    for direction, path in transforms.items():
        if path and getattr(registered, direction) is not None:
            write(path, getattr(registered, direction), pairs[direction])
            typer.echo(f"{path}: the transform, {direction}")
    if warped_out:
        write_image(warped_out, warp(moving, registered.forward, registered.pair.fixed))
        typer.echo(f"{warped_out}: the moving image on the fixed one's grid")


def _check_distinct(outputs: Sequence[Path], inputs: Sequence[Path | None]) -> None:
    """Raise UserError where an output would overwrite an input or another output."""
    names = [path.resolve() for path in (*inputs, *outputs) if path]
    for path in outputs:
        if names.count(path.resolve()) > 1:
            raise UserError(
                f"{path} is named twice, and would be overwritten; give each output its own name."
            )


def _iterations(text: str) -> int:
    if text.strip().lower() == "none":
        return 0
    if not text.strip().isdigit():
        raise UserError(f"--io-iterations must be a whole number or None, but is '{text}'.")
    return int(text)


@app.command("apply")
def apply_command(
    transform: TransformFile,
    given: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="The moving image or its label map; or points of the fixed image: .csv, .mrk.json, .vtk, .stl.",
        ),
    ],
    output: Annotated[
        Path, typer.Argument(help="What to write: .nii.gz, .nii, .mha, .nrrd, or the points' own kind.")
    ],
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", "--fixed", help="An image whose grid the result has; the field's if none."
        ),
    ] = None,
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
    from cohortreg.maps.exchange import read

    _check_distinct([output], [transform, given, reference])
    opened = read(transform)
    if given.name.lower().endswith(POINTS):
        _apply_to_points(opened, given, output, frame)
        return
    from cohortreg.images.io import check_image_name, read_image, read_label, write_image
    from cohortreg.maps.apply import check_axes, check_made_for, looks_like_labels, warp

    check_image_name(output)
    image = read_label(given) if label else read_image(given)
    if label is None and looks_like_labels(image.array):
        raise UserError(
            f"{given} looks like a label map, whose values must not be interpolated; give --label if it is one, "
            "or --linear if it is an image."
        )
    grid = read_image(reference).grid if reference else opened.grid
    if grid is None:
        raise UserError(f"{transform} has no grid of its own; name the fixed image with --reference.")
    try:
        check_axes(opened.transform, image=image.grid, reference=grid)
        if opened.pair is not None and not any_image:
            check_made_for(image, opened.pair)
        warped = warp(image, opened.transform, grid, nearest=bool(label), background=background)
    except UserError as error:
        raise UserError(f"{given}: {error}") from error
    write_image(output, warped)
    typer.echo(f"{output}: {given.name} on a grid of {' x '.join(map(str, grid.shape))} voxels")


def _apply_to_points(opened, given: Path, output: Path, frame: Frame | None) -> None:
    """Move the points of a file, and report how many lie where the transform is undefined."""
    from cohortreg.maps.apply import mirrors, move
    from cohortreg.maps.points import move_points

    if opened.transform.GetDimension() != 3:
        raise UserError(f"{given}: points have x, y and z, and the transform is 2D; give a 3D one.")
    beyond = 0

    def mover(points):
        nonlocal beyond
        beyond += int((~opened.grid.contains(points)).sum()) if opened.grid else 0
        return move(points, opened.transform)

    count = move_points(
        given, output, mover, frame.value if frame else "", mirrors(opened.transform, opened.grid)
    )
    typer.echo(f"{output}: {count} points")
    if beyond:
        typer.echo(f"{beyond} of them lie beyond the transform's grid and stayed where they were.", err=True)


@app.command("jacobian")
def jacobian_command(
    transform: TransformFile,
    output: Annotated[Path, typer.Argument(help="The image to write: .nii.gz, .nii, .mha or .nrrd.")],
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", "--fixed", help="An image whose grid the result has; the field's if none."
        ),
    ] = None,
    log: Annotated[
        bool, typer.Option("--log", help="Its logarithm; not a number where the map folds.")
    ] = False,
) -> None:
    """Write the determinant of a transform's Jacobian: above 1 where it stretches, below where it shrinks."""
    import numpy as np

    from cohortreg.images.io import Image, check_image_name, read_image, write_image
    from cohortreg.maps.apply import check_axes
    from cohortreg.maps.exchange import read
    from cohortreg.maps.jacobian import determinant
    from cohortreg.maps.transforms import field_of

    check_image_name(output)
    _check_distinct([output], [transform, reference])
    opened = read(transform)
    grid = read_image(reference).grid if reference else opened.grid
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
    mirrored = (
        "; the transform mirrors, so that values are negative where it does not fold" if sign < 0 else ""
    )
    typer.echo(f"{output}: {folded} of {values.size} voxels fold{mirrored}")


@app.command("export")
def export_command(
    results: Results,
    method: Annotated[str, typer.Option(help="Row of the tables: fit, icon-2step, ...")],
    output: Annotated[Path, typer.Option(help="Folder to write to.")],
    kind: Annotated[
        Format,
        typer.Option(
            "--format",
            help="nii.gz: displacement fields. h5, tfm: ITK's. learn2reg: arrays in voxels as .nii.gz, or as .npz.",
        ),
    ] = Format.nifti,
    moving: Annotated[str, typer.Option(help="Of this moving image only.")] = "",
    fixed: Annotated[str, typer.Option(help="Of this fixed image only.")] = "",
) -> None:
    """Write a cohort's transforms between raw images, forward and inverse, in files that other programs read.

    Mirroring, resampling, padding and cropping are undone. MOVING_to_FIXED warps the raw moving image onto the raw
    fixed one; disp_FIXED_MOVING is Learn2Reg's name for the same.
    """
    from cohortreg.jobs.export import asked_pairs, export_pair, refuse_shared_names
    from cohortreg.layout import Layout

    layout = Layout(results)
    pairs = asked_pairs(layout, moving, fixed)
    refuse_shared_names(pairs, kind.value)
    written = {}
    with progress_bar(f"Exporting {method}", len(pairs)) as advance:
        for ids in pairs:
            written[ids] = export_pair(layout, method, *ids, output, kind.value)
            advance()
    typer.echo(f"{output}: {sum(written.values())} transforms of {len(pairs)} pairs")
    if lacking := [" to ".join(ids) for ids, count in written.items() if not count]:
        raise UserError(
            f"{len(lacking)} of {len(pairs)} pairs have no transform of {method}, the first of them {lacking[0]}; "
            f"register them, or see {layout.pairs_table} for why they failed."
        )
