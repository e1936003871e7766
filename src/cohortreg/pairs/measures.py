"""Agreement of the labels of a pair."""

from __future__ import annotations  # so that help shows the names of types

import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from cohortreg.errors import UserError
from cohortreg.evaluation.measures import columns, measures_of_labels
from cohortreg.images.convert import AnyImage, to_image
from cohortreg.images.image import Image
from cohortreg.maps.apply import check_axes
from cohortreg.maps.transforms import field_of
from cohortreg.pairs.transforms import AnyTransform, to_transform

Structures = Mapping[str, int | Sequence[int]]


def measure(
    transform: AnyTransform,
    moving_label: AnyImage,
    fixed_label: AnyImage,
    structures: Structures | None = None,
) -> dict[str, float]:
    """Measure how well the labels of two images agree once the moving one is warped, as a workflow does.

    Args:
        transform: From points of the fixed to points of the moving image: a file, or one of SimpleITK.
        moving_label: Label map of the moving image: a path, an image of SimpleITK or nibabel, or (array, affine).
        fixed_label: Label map of the fixed image, at whose resolution is measured.
        structures: Name -> the label value or values that make it up; each value of the fixed label map if None.

    Returns:
        Dice from 0 to 1 and the 95 % Hausdorff distance in millimetres of each structure, their means, and of several
        structures the Dice of their union: "dice_cartilage", "hd95_cartilage", "dice_mean", ..., as the columns of a
        workflow's tables. NaN where there is nothing to measure.

    Raises:
        UserError: A label map is none, or does not have a structure.

    Example:
        >>> cohortreg.measure(found.forward, "a_label.nii.gz", "b_label.nii.gz", {"cartilage": [2, 4]})["dice_mean"]
        0.71
    """
    opened = to_transform(transform)
    moving, fixed = (
        to_image(source, f"the {role} label", label=True)
        for role, source in (("moving", moving_label), ("fixed", fixed_label))
    )
    check_axes(opened.transform, **{"moving label": moving.grid, "fixed label": fixed.grid})
    named = structures_of(structures, moving, fixed)
    return measures_of_labels(moving, fixed, field_of(opened.transform, fixed.grid), named)


def structures_of(structures: Structures | None, moving: Image, fixed: Image) -> dict[str, list[int]]:
    """Name -> values of the structures, each of which both label maps have; of None, every value of the fixed one."""
    if structures is None:
        values = [int(value) for value in np.unique(fixed.array) if value]
        named = {str(value): [value] for value in values}
    else:
        if not isinstance(structures, Mapping):
            raise UserError(
                f'structures are {structures!r}; give names and their label values, such as {{"cartilage": [2, 4]}}.'
            )
        for name in structures:
            if not isinstance(name, str) or not name.strip() or not name.isprintable():
                raise UserError(f"a structure has the name {name!r}; give a word.")
        named = {name: _values(name, value) for name, value in structures.items()}
    if not named:
        raise UserError("there is no structure to measure: the fixed label map is zero everywhere.")
    columns(named)  # refuses names of other columns
    for role, label in (("moving", moving), ("fixed", fixed)):
        for name, values in named.items() if structures is not None else ():
            if not np.isin(label.array, values).any():
                present = ", ".join(map(str, np.unique(label.array)[:20]))
                raise UserError(
                    f"the {role} label has no voxel of {name} ({' or '.join(map(str, values))}), only the values "
                    f"{present}; correct the structures."
                )
    return named


def _values(name: str, given: int | Sequence[int]) -> list[int]:
    """The label values of a structure; raises UserError where they are not whole numbers."""
    several = given if isinstance(given, Iterable) else [given]
    try:
        values = [operator.index(value) for value in several]
    except TypeError:
        values = []
    if not values:
        raise UserError(
            f"the structure {name} is {given!r}; give its label value or values, such as 2 or [2, 4]."
        )
    return values
