"""Registration of a pair of images: in Python, by `cohortreg register`, and of each pair of a workflow."""

from __future__ import annotations  # so that help shows the names of types

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
import torch

from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.evaluation.measures import Maps, measures_of_maps
from cohortreg.files import check_outputs
from cohortreg.images.convert import AnyImage, name_of, to_image
from cohortreg.images.image import Image
from cohortreg.images.io import check_image_name
from cohortreg.images.preprocess import preprocess
from cohortreg.inputs import expanded
from cohortreg.losses.fields_of_view import both_imaged, unit_bounds
from cohortreg.losses.similarities import CorrelationWithOne
from cohortreg.maps.apply import warp
from cohortreg.maps.exchange import Pair, check_name, write
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.matrices import matrix_of
from cohortreg.maps.raw import Source, between_raw
from cohortreg.maps.transforms import Transform, to_physical
from cohortreg.methods.interface import Registration, timed
from cohortreg.pairs.models import Model, Stepwise, load, processor

Side = Literal["", "left", "right"]


@dataclass(frozen=True)
class Quality:
    """What the maps of a pair are worth, on the grid that the images were registered on.

    Attributes:
        similarity_before: Squared correlation in Gaussian windows of two voxels (squared LNCC), from 0 to 1, mean over
            what both imaged, with the images as they lie; contrast may be reversed, and beyond the grid is black.
        similarity_after: The same with the moving image warped.
        folds: Voxels at which the map reverses orientation.
        folds_percent: Their percentage of the grid's.
        inverse_consistency_voxels: Distance between a voxel and where mapping it there and back takes it, mean over the
            voxels; beyond the grid, a displacement keeps its border's value. None where the method has one map only.
        seconds: That the registration took.
    """

    similarity_before: float
    similarity_after: float
    folds: int
    folds_percent: float
    inverse_consistency_voxels: float | None
    seconds: float

    def __str__(self) -> str:
        error = self.inverse_consistency_voxels
        inverse = "" if error is None else f", inverse error {error:.2f} voxels"
        return (
            f"squared local correlation {self.similarity_before:.3f} before and {self.similarity_after:.3f} after, "
            f"{self.folds:,} folds ({self.folds_percent:.3g} %){inverse}, {self.seconds:.1f} s"
        )


@dataclass(frozen=True)
class Preprocessed:
    """A raw image and what a method saw of it.

    Attributes:
        image: On the grid that images are registered on, grey values from 0 to 1.
        source: The raw image that it was made from.
        mirrored: Whether it is the mirror image.
    """

    image: Image
    source: Source
    mirrored: bool


@dataclass(frozen=True)
class Registered:
    """A registered pair.

    Attributes:
        forward: From points of the fixed to points of the moving image, LPS millimetres: what SimpleITK, ANTs and 3D
            Slicer warp the moving image with. An affine transform where the map is affine.
        inverse: The other way; None where the method has one map only.
        quality: What the maps are worth.
        moving: The raw moving image.
        fixed: The raw fixed image.
        name: The images' names, and what registered them.
        preprocessed: The moving and the fixed image as they were registered.
        displacement: The map between these, from the fixed to the moving image.
        files: Those that were read, of images and masks.
    """

    forward: sitk.Transform
    inverse: sitk.Transform | None
    quality: Quality
    moving: Image
    fixed: Image
    name: str
    preprocessed: tuple[Preprocessed, Preprocessed]
    displacement: Transform
    files: Sequence[Path] = ()

    def __repr__(self) -> str:
        return f"<{self.name}: {self.quality}>"

    @cached_property
    def warped(self) -> Image:
        """The raw moving image on the raw fixed image's grid, linearly interpolated."""
        return warp(self.moving, self.forward, self.fixed.grid)

    def save(
        self,
        forward: str | os.PathLike[str] | None = None,
        inverse: str | os.PathLike[str] | None = None,
        warped: str | os.PathLike[str] | None = None,
    ) -> None:
        """Write transforms and the warped image; each file appears whole or not at all.

        Args:
            forward: Where to write the transform that warps the moving image: .nii.gz or .nii, a displacement field;
                .h5, .hdf5 or .tfm, ITK's transform; .mat, ITK's of an affine one.
            inverse: Where to write the inverse.
            warped: Where to write the warped image: .nii.gz, .nii, .mha or .nrrd.

        Raises:
            UserError: No name is given or one ends otherwise, a file cannot be written or is one that was registered,
                or there is no inverse; nothing is written then.

        Example:
            >>> found.save("a_to_b.h5", inverse="b_to_a.h5", warped="a_on_b.nii.gz")
        """
        paths = [None if path is None else expanded(path) for path in (forward, inverse, warped)]
        if not any(paths):
            raise UserError("there is nothing to write; name a file for forward, inverse or warped.")
        check_savable(paths, self.files, matrix_of(self.forward) is None, self.inverse is not None)
        pair = Pair(self.moving.grid, self.fixed.grid)
        if paths[0]:
            write(paths[0], self.forward, pair)
        if paths[1] and self.inverse:
            write(paths[1], self.inverse, pair.swapped())
        if paths[2]:
            self.warped.save(paths[2])


def check_savable(
    paths: Sequence[Path | None],
    files: Sequence[Path | None] = (),
    deforms: bool = False,
    has_inverse: bool = True,
) -> None:
    """Raise UserError where `Registered.save` could not write.

    Args:
        paths: Where the transform, the inverse and the warped image are to be written, if at all.
        files: What is registered, which is never overwritten.
        deforms: Whether the transforms are more than affine.
        has_inverse: Whether there is an inverse.
    """
    *transforms, warped = paths
    for path in filter(None, transforms):
        check_name(path, deforms)
    if warped:
        check_image_name(warped)
    check_outputs(paths, files)
    if (inverse := paths[1]) and not has_inverse:
        raise UserError(
            f"{inverse} cannot be written: the method computes no inverse; register the images in the opposite "
            "direction, or invert the transform."
        )


def register(
    moving: AnyImage,
    fixed: AnyImage,
    model: str | os.PathLike[str] | Model | None = None,
    method: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    grid: Sequence[int] | None = None,
    fit: bool | None = None,
    device: str | None = None,
    seed: int | None = None,
    threads: int | None = None,
    moving_mask: AnyImage | None = None,
    fixed_mask: AnyImage | None = None,
    moving_side: Side = "",
    fixed_side: Side = "",
    progress: Callable[[int, int, str], None] | None = None,
) -> Registered:
    """Register two images of any geometry, 2D or 3D.

    Without a model or a method, fit optimises the maps of both directions for this one pair; it needs no training, and
    the images may lie far apart.

    Args:
        moving: The image that is warped: a path, an image of SimpleITK or nibabel, or (array, affine).
        fixed: The image that it is warped onto.
        model: A trained model: its folder, or what `load` returned, which saves loading it for each pair.
        method: Instead of a model, a method that needs no training: fit, affine, demons, ...; see docs/methods.md.
        settings: Of the method, or with `fit` of fit; such as {"smoothness": 1.5}.
        grid: Voxels that images are brought to, to be faster; by default the fixed image's own, or the model's.
        fit: Whether fit refines what the model or the method finds.
        device: "auto", "cpu", "cuda" or "mps".
        seed: Everything drawn at random follows from it; 1 by default.
        threads: Of the processor; 2 by default. The same number gives the same maps, to the last digit.
        moving_mask: Where this is zero, the image is made black, and counts as black.
        fixed_mask: The same of the fixed image.
        moving_side: Side of the body, "left" or "right", for a model that mirrors one of them.
        fixed_side: The same of the fixed image.
        progress: Called with the steps done, how many there are, and words; of methods that report them.

    Returns:
        The transforms of both directions between the raw images, the warped image, and what they are worth.

    Raises:
        UserError: An image is none, the images differ in dimension, or the method cannot do what is asked.

    Example:
        >>> import cohortreg
        >>> found = cohortreg.register("a.nii.gz", "b.nii.gz")
        >>> found.quality.similarity_after > found.quality.similarity_before
        True
        >>> found.save("a_to_b.h5", warped="a_on_b.nii.gz")
    """
    options: dict[str, Any] = {"settings": settings, "grid": grid, "fit": fit, "device": device}
    options |= {"seed": seed, "threads": threads}
    options = {name: value for name, value in options.items() if value is not None}
    if model is not None and method is not None:
        raise UserError("give a model or a method, not both; with fit, fit refines what either finds.")
    roles = ("moving", moving, moving_mask, moving_side), ("fixed", fixed, fixed_mask, fixed_side)
    raw = [to_image(image, f"the {role} image") for role, image, _, _ in roles]
    seen = [
        image if mask is None else masked(image, to_image(mask, f"the {role} mask", label=True), role)
        for image, (role, _, mask, _) in zip(raw, roles, strict=True)
    ]
    model = model if model is not None else "fit" if method is None else method
    if not isinstance(model, Model):
        model = load(model, **options)
    elif options:
        raise UserError(f"{model.name} is loaded already; give {', '.join(options)} to load instead.")
    settings_of_pair = model.preprocessing_of(raw[1])
    pair = [
        _preprocessed(role, image, side, settings_of_pair)
        for image, (role, _, _, side) in zip(seen, roles, strict=True)
    ]
    if (dim := len(settings_of_pair.grid)) not in model.dimensions:
        raise UserError(f"{model.name} cannot register {dim}D images; choose another method.")
    with processor(model.threads):
        registration, seconds = _reporting(model, pair, progress)
        grids, sources = [each.image.grid for each in pair], [each.source for each in pair]
        forward = to_physical(registration.forward, *grids)
        backward = None if registration.inverse is None else to_physical(registration.inverse, *grids[::-1])
        quality = _quality(pair[0].image, pair[1].image, forward, backward, seconds)
    given = [image for _, *images, _ in roles for image in images]
    return Registered(
        between_raw(forward, *sources),
        None if backward is None else between_raw(backward, *sources[::-1]),
        quality,
        raw[0],
        raw[1],
        f"{name_of(moving, 'moving')} to {name_of(fixed, 'fixed')} by {model.name}",
        (pair[0], pair[1]),
        forward,
        [expanded(path).absolute() for path in given if isinstance(path, str | os.PathLike)],
    )


def _reporting(
    model: Model, pair: Sequence[Preprocessed], progress: Callable[[int, int, str], None] | None
) -> tuple[Registration, float]:
    """Register a preprocessed pair, see `timed`, and tell its progress."""
    images = pair[0].image, pair[1].image
    if progress is None or not isinstance(model.method, Stepwise):
        return timed(model.method, *images)
    steps = model.method.steps(images[1].shape)
    done = iter(range(1, steps + 1))
    model.method.report = lambda: progress(next(done, steps), steps, "")
    progress(0, steps, "(how the images lie)")
    try:
        return timed(model.method, *images)
    finally:
        model.method.report = lambda: None
        progress(steps, steps, "(what it achieved)")


def _preprocessed(role: str, image: Image, side: str, settings: Preprocess) -> Preprocessed:
    dim = len(settings.grid)
    if image.array.ndim != dim:
        raise UserError(f"the {role} image is {image.array.ndim}D; what is registered here is {dim}D.")
    if side not in ("", "left", "right"):
        raise UserError(f"the side of the {role} image is {side!r}; give left or right, or leave it out.")
    try:
        seen, _, record = preprocess(image, None, side, settings)
    except UserError as error:
        raise UserError(f"the {role} image: {error}") from error
    seen = replace(seen, field_of_view=record["field_of_view"])
    return Preprocessed(seen, Source.of(record), record["mirrored"])


def masked(image: Image, mask: Image, role: str) -> Image:
    """An image whose voxels outside of a mask have its least value. The mask, not zero inside, lies on its grid.

    They still count in every similarity: what is registered is the image on black, with the mask's outline as an edge.

    Raises:
        UserError: The mask lies on another grid, or is zero everywhere.
    """
    if not image.grid.matches(mask.grid):
        raise UserError(
            f"the mask of the {role} image is not on the grid of its image; resample the mask onto the image."
        )
    if not mask.array.any():
        raise UserError(
            f"the mask of the {role} image is zero everywhere and would leave nothing of the image; correct the mask."
        )
    return replace(image, array=np.where(mask.array != 0, image.array, image.array.min()))


def _quality(
    moving: Image, fixed: Image, forward: Transform, inverse: Transform | None, seconds: float
) -> Quality:
    """Measure maps as a workflow does, and the similarity of the images before and after."""
    maps = Maps(forward, inverse, moving.grid)
    images = [torch.from_numpy(image.array)[None, None] for image in (moving, fixed)]
    boxes = torch.tensor([moving.imaged, fixed.imaged])
    bounds = unit_bounds(boxes.transpose(1, 2), fixed.shape).split(1)
    similarity = CorrelationWithOne(2, images[1], squared=True)
    before, after = (
        1 - similarity(interpolate(images[0], phi), both_imaged(phi, *bounds)).item()
        for phi in (identity_map(fixed.shape), maps.forward.float())
    )
    of_maps = measures_of_maps(maps)
    error = None if inverse is None else of_maps["inverse_consistency_voxels"]
    return Quality(before, after, maps.folds, of_maps["folds_percent"], error, seconds)
