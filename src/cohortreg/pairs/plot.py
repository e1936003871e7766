"""The figure of a registered pair."""

from __future__ import annotations  # so that help shows the names of types

from typing import TYPE_CHECKING

import numpy as np

from cohortreg import extras
from cohortreg.errors import UserError
from cohortreg.images.convert import AnyImage, to_image
from cohortreg.images.geometry import aligned
from cohortreg.images.image import Image
from cohortreg.pairs.measures import Structures, structures_of
from cohortreg.pairs.registration import Preprocessed, Registered

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    found: Registered,
    moving_label: AnyImage | None = None,
    fixed_label: AnyImage | None = None,
    structures: Structures | None = None,
) -> Figure:
    """Draw a registered pair: moving, fixed and warped image and the deformed grid, in three planes.

    Args:
        found: What `register` returned.
        moving_label: Label map of the moving image, whose outlines are drawn, warped ones over the fixed ones.
        fixed_label: Label map of the fixed image, without which there are no outlines either.
        structures: Name -> the label value or values that make it up; each value of the fixed label map if None.

    Returns:
        Matplotlib's figure, which notebooks show and `savefig` writes.

    Raises:
        UserError: A label map is none, there is one of one image only, or the extra report is not installed.

    Example:
        >>> cohortreg.plot(found).savefig("a_to_b.png")
    """
    extras.require("plot", "report")
    import matplotlib
    from matplotlib import pyplot as plt

    from cohortreg.report.figures import style
    from cohortreg.report.figures.pair_panels import NAME, pair_figure, pair_of

    if not isinstance(found, Registered):
        raise UserError(f"plot takes what register returned, not an object of type {type(found).__name__}.")
    if (moving_label is None) != (fixed_label is None):
        raise UserError("outlines need the label maps of both images; give both, or none.")
    named: dict[str, list[int]] = {}
    labels = None
    if moving_label is not None and fixed_label is not None:
        raw = [to_image(label, "the label", label=True) for label in (moving_label, fixed_label)]
        named = structures_of(structures, *raw)
        labels = _seen(raw[0], found.preprocessed[0]), _seen(raw[1], found.preprocessed[1])
    elif structures is not None:
        raise UserError("structures are of label maps; give moving_label and fixed_label.")
    moving, fixed = found.preprocessed
    mirrored = moving.mirrored, fixed.mirrored
    pair = pair_of(moving.image, fixed.image, found.displacement, labels, mirrored)
    with matplotlib.rc_context():
        style.look()
        figure = pair_figure(pair, named, f"{style.short(found.name, 3 * NAME)}\n{found.quality}")
        figure.draw_without_rendering()  # laid out in this look
    plt.close(figure)  # notebooks would show it twice
    return figure


def _seen(label: Image, seen: Preprocessed) -> Image:
    """A raw label map where the preprocessed image lies, with that image's axes."""
    return aligned(Image(label.array, np.linalg.inv(seen.source.to_source) @ label.affine), seen.image)
