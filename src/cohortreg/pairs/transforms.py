"""Application, composition and inversion of transforms, wherever they come from."""

from __future__ import annotations  # so that help shows the names of types

import os
from itertools import pairwise
from typing import TypeAlias

import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.images.convert import AnyImage, to_grid, to_image
from cohortreg.images.image import Image
from cohortreg.inputs import expanded, truth
from cohortreg.maps import apply
from cohortreg.maps.algebra import Inverted, composed, domain_of, inverted
from cohortreg.maps.exchange import Pair, Read, read

#: A file, one that was read, or a transform of SimpleITK.
AnyTransform: TypeAlias = str | os.PathLike[str] | sitk.Transform | Read


def to_transform(source: AnyTransform) -> Read:
    """Take a transform from a file, or one of SimpleITK; raises UserError where it is neither."""
    if isinstance(source, Read):
        return source
    if isinstance(source, sitk.Transform):
        return Read(source, None, None)
    if isinstance(source, str | os.PathLike):
        return read(expanded(source))
    its = "; give its forward or inverse" if hasattr(source, "forward") else ""
    raise UserError(f"a transform is a path or one of SimpleITK, not of type {type(source).__name__}{its}.")


def warp(
    image: AnyImage,
    transform: AnyTransform,
    like: AnyImage | None = None,
    *,
    label: bool | None = None,
    background: float = 0,
    any_image: bool = False,
) -> Image:
    """Warp the moving image, or a label map of it, onto the fixed image.

    Args:
        image: A path, an image of SimpleITK or nibabel, or (array, affine).
        transform: From points of the fixed to points of the moving image: a file, or one of SimpleITK.
        like: The image whose grid the result has; by default that of a displacement field's file.
        label: Whether `image` is a label map, whose values are not mixed: True takes the nearest voxel's, False
            interpolates. By default False, and what looks like a label map is refused.
        background: The value where the transform leads out of the image.
        any_image: Whether to warp an image elsewhere in space than the one that the transform's file was made for, too.

    Returns:
        The image, float32, or the label map in its own type; see `Image`.

    Raises:
        UserError: Something is not what it should be, or the transform does not lead into the image.

    Example:
        >>> label = cohortreg.warp("a_label.nii.gz", found.forward, like="b.nii.gz", label=True)
        >>> label.save("a_label_on_b.nii.gz")
    """
    if label is not None:
        label = truth("label", label)
    any_image = truth("any_image", any_image)
    opened = to_transform(transform)
    try:
        background = float(background)
    except (TypeError, ValueError) as error:
        raise UserError(f"the background is {background!r}; give a number.") from error
    name = os.fspath(image) if isinstance(image, str | os.PathLike) else "the image"
    moving = to_image(image, label=bool(label))
    if label is None and apply.looks_like_labels(moving.array):
        raise UserError(
            f"{name} looks like a label map, whose values must not be interpolated; say whether it is one: --label or "
            "--linear, in Python label=True or label=False."
        )
    grid = opened.grid if like is None else to_grid(like, "the fixed image")
    if grid is None:
        raise UserError(
            "the transform has no grid of its own; give the fixed image: --reference, in Python like."
        )
    try:
        apply.check_axes(opened.transform, image=moving.grid, reference=grid)
        if opened.pair is not None and not any_image:
            apply.check_made_for(moving.grid, opened.pair)
        return apply.warp(moving, opened.transform, grid, nearest=bool(label), background=background)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def compose(*transforms: AnyTransform) -> sitk.Transform:
    """Compose transforms that warp an image one after the other, the first one first.

    The one from C to A is `compose(a_to_b, b_to_c)`: it warps A onto C in one interpolation.

    Args:
        transforms: Files, or transforms of SimpleITK; each begins where the one before it ends.

    Returns:
        An affine transform where all are affine, otherwise a composite one.

    Raises:
        UserError: One of them is none, they differ in dimension, or a file says that it is of another image.

    Example:
        >>> a_to_c = cohortreg.compose("a_to_b.nii.gz", "b_to_c.nii.gz")
        >>> cohortreg.warp("a.nii.gz", a_to_c, like="c.nii.gz").save("a_on_c.nii.gz")
    """
    return composition([to_transform(transform) for transform in transforms]).transform


def composition(steps: list[Read]) -> Read:
    """Compose transforms from files, see `compose`; with the images of the result where the files tell them."""
    if not steps:
        raise UserError("there is nothing to compose; give two transforms or more.")
    for before, after in pairwise(steps):
        if before.pair and after.pair:
            apply.check_follows(before.pair, after.pair)
    first, last = steps[0].pair, steps[-1].pair
    pair = Pair(first.moving, last.fixed) if first and last else None
    return Read(composed([step.transform for step in steps]), steps[-1].grid, pair)


def invert(transform: AnyTransform, like: AnyImage | None = None) -> sitk.Transform:
    """Invert a transform: exactly where it is affine, otherwise by iteration on the moving image's voxels.

    Args:
        transform: From points of the fixed to points of the moving image: a file, or one of SimpleITK.
        like: The moving image, on whose grid the inverse is computed; by default as the transform's file says it.

    Returns:
        The transform from points of the moving to points of the fixed image.

    Raises:
        UserError: The transform has no inverse, or no grid is known.

    Example:
        >>> b_to_a = cohortreg.invert(found.forward, like="a.nii.gz")
    """
    return inversion(to_transform(transform), like)[0].transform


def inversion(opened: Read, like: AnyImage | None = None) -> tuple[Inverted, Pair | None]:
    """Invert a transform from a file, see `invert`; with the images that the inverse is between, as far as known."""
    known = opened.pair.moving if opened.pair else None
    moving = known if like is None else to_grid(like, "the moving image")
    if moving is not None:
        apply.check_axes(opened.transform, reference=moving)
    fixed = opened.pair.fixed if opened.pair else opened.grid or domain_of(opened.transform)
    inverse = inverted(opened.transform, moving)
    return inverse, Pair(fixed or moving, moving) if moving else None
