"""The figure of a pair, in the form of Figure 1 of Greer et al. 2021: moving, fixed, warped, deformed grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import BY_KEY, DICE
from cohortreg.evaluation.ranking import labelled
from cohortreg.evaluation.sampling import crop, displace, sample
from cohortreg.evaluation.structures import HALF, structure_mask
from cohortreg.images.image import Image, Structures
from cohortreg.maps.grids import interpolate
from cohortreg.maps.jacobian import folded
from cohortreg.maps.transforms import Transform, apply_affine, to_unit
from cohortreg.report.comparison import Comparison, Source
from cohortreg.report.figures import style
from cohortreg.report.table2 import value

# Array axes of a canonical volume run to the right, to the front and up: what a slice across each is called.
PLANES = {0: "sagittal", 1: "coronal", 2: "axial"}
GRID_LINES = 24  # along the longer side of a slice
FINER = 3  # points a voxel along each axis at which labels are drawn
GRID_COLOURS = ("#0072b2", "#d55e00")


NAME = 32  # letters of an id in a title
NONE = "Registration by {} failed for every pair, so there is none to show."


@dataclass(frozen=True)
class Pair:
    """A registered pair as drawn; the map and the warped image lie on the fixed image's grid."""

    moving: Image
    fixed: Image
    warped: np.ndarray  # [*grid]
    phi: np.ndarray  # [dim, *grid], voxels of the moving image
    folded: np.ndarray  # [*grid] bool
    transform: Transform
    labels: tuple[Image, ...] | None  # of the moving and the fixed image
    mirrored: tuple[bool, bool] = (False, False)  # the moving and the fixed image, by preprocessing


@dataclass(frozen=True)
class Slice:
    """A slice across array axis `axis` at `index`; `extent` is its outline in millimetres, as matplotlib wants it.

    It is drawn as radiologists look at it, the end of the axis to the right at the left: the patient's right and front.
    A 2D image is a slice itself, across no axis.
    """

    axis: int | None
    index: int
    extent: tuple[float, float, float, float]

    def of(self, volume: np.ndarray) -> np.ndarray:
        """The slice of an array [i, j, k] or [i, j], rows upwards."""
        return volume.T if self.axis is None else np.take(volume, self.index, axis=self.axis).T

    def centres(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Millimetres to the right and upwards of the centres of height x width samples that cover the slice."""
        _, right, _, up = self.extent
        return (np.arange(width) + 0.5) * right / width, (np.arange(height) + 0.5) * up / height


def read_pair(source: Source, method: str, moving: str, fixed: str) -> Pair:
    """Read a pair and warp its moving image."""
    transform, labels = source.transform(method, moving, fixed), source.labels(moving, fixed)
    mirrored = source.is_mirrored(moving), source.is_mirrored(fixed)
    return pair_of(source.image(moving), source.image(fixed), transform, labels, mirrored)


def pair_of(
    moving: Image,
    fixed: Image,
    transform: Transform,
    labels: tuple[Image, ...] | None,
    mirrored: tuple[bool, bool],
) -> Pair:
    """Warp the moving one of two preprocessed images; arguments as in `Pair`."""
    phi = to_unit(transform, moving.grid).float()
    warped = interpolate(torch.from_numpy(moving.array)[None, None], phi)[0, 0].numpy()
    last = np.array(moving.shape) - 1
    voxels = phi[0].numpy() * last.reshape(-1, *[1] * len(last))
    return Pair(moving, fixed, warped, voxels, folded(phi)[0].numpy(), transform, labels, mirrored)


def draw(place: str, comparison: Comparison) -> Figure:
    """Draw the best, median or worst pair of the main method, or say why there is nothing to see."""
    if not comparison.shown:
        return style.message(NONE.format(comparison.main_method))
    row, source = comparison.shown[place], comparison.source
    method, moving, fixed = (style.short(row[key], NAME) for key in ("method", "moving", "fixed"))
    if not source.has_transform(row["method"], row["moving"], row["fixed"]):
        return style.message(f"The transform of {moving} to {fixed} was deleted.")
    title = f"{place.capitalize()} pair of {method}: {moving} to {fixed}"
    pair = read_pair(source, row["method"], row["moving"], row["fixed"])
    measured = f"{DICE.title} {value(DICE, row)}, folds {value(BY_KEY['folds'], row)}"
    return pair_figure(pair, comparison.structures, f"{title}\n{measured}")


def about(place: str, comparison: Comparison) -> str | None:
    """Describe the pair with its measures; None where every pair failed."""
    if not comparison.shown:
        return None
    row = comparison.shown[place]
    measured = f"{DICE.name} {value(DICE, row)} %, " if labelled(comparison.pairs) else ""
    measured += f"folds in {numbers.percent(row['folds_percent'])} % of voxels"
    return f"{row['moving']} (moving) to {row['fixed']} (fixed) by {row['method']}: {measured}."


draw_best, draw_median, draw_worst = (partial(draw, place) for place in ("best", "median", "worst"))
about_best, about_median, about_worst = (partial(about, place) for place in ("best", "median", "worst"))


def pair_figure(pair: Pair, structures: Structures, title: str) -> Figure:
    """Four panels for each of three planes, where the fixed label's structures are largest; for 2D images, once four.

    Images with the outlines of the structures, warped ones over the fixed ones (dashed); the grid as contour
    lines of the two components of the map in the plane, on white, black where the map folds.
    """
    planes = range(3) if pair.fixed.array.ndim == 3 else [None]
    slices = [choose_slice(pair, axis, structures) for axis in planes]
    ratios = [part.extent[3] / part.extent[1] for part in slices]
    size = (style.PAGE, sum(ratios) * style.PAGE / 4 + 0.8)
    figure, panels = plt.subplots(len(slices), 4, squeeze=False, figsize=size, height_ratios=ratios)
    for row, part in zip(panels, slices, strict=True):
        _draw_row(row, pair, part, structures)
        row[0].set_ylabel(PLANES[part.axis] if part.axis is not None else "")
    names = "moving", "fixed", "warped", "deformed grid"
    for axes, name, mirrored in zip(panels[0], names, (*pair.mirrored, False, False), strict=True):
        axes.set_title(f"{name} (mirrored)" if mirrored else name, loc="center", fontweight="normal")
    figure.suptitle(style.plain(title), fontsize="medium")
    if pair.labels:
        handles = style.structure_lines(list(structures))
        handles.append(Line2D([], [], color=style.MUTED, linestyle=":", label="fixed, for comparison"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4))
    return figure


def choose_slice(pair: Pair, axis: int | None, structures: Structures) -> Slice:
    """The slice of the fixed image across an axis where its structures are largest; the middle without labels."""
    image = pair.fixed
    right, up = others = _in_plane(image, axis)
    index = 0 if axis is None else image.shape[axis] // 2
    if pair.labels and axis is not None:
        label = pair.labels[1]
        values = [value for several in structures.values() for value in several]
        # The label has a grid of its own, so its slice is looked up in the image through physical space.
        place = (np.array(label.shape) - 1) / 2
        place[axis] = np.isin(label.array, values).sum(axis=others).argmax()
        there = image.grid.indices(label.grid.points(place))
        index = int(np.clip(round(there[axis]), 0, image.shape[axis] - 1))
    width, height = (float(image.spacing[other] * image.shape[other]) for other in (right, up))
    return Slice(axis, index, (0, width, 0, height))


def _in_plane(image: Image, axis: int | None) -> tuple[int, ...]:
    """The two array axes of a slice across an axis, that to the right and that upwards."""
    return tuple(other for other in range(image.array.ndim) if other != axis)


def _draw_row(row: Sequence[Axes], pair: Pair, part: Slice, structures: Structures) -> None:
    for axes, volume in zip(row, (pair.moving.array, pair.fixed.array, pair.warped), strict=False):
        axes.imshow(part.of(volume), cmap="gray", vmin=0, vmax=1, origin="lower", extent=part.extent)
    if pair.labels:
        moving, fixed = pair.labels
        here = _points(pair.fixed, part)
        _outline(row[0], part, moving, _points(pair.moving, part), structures)
        _outline(row[1], part, fixed, here, structures)
        _outline(row[2], part, fixed, here, structures, "dotted")
        _outline(row[2], part, moving, displace(here, pair.transform), structures)
    _draw_grid(row[3], pair, part)
    for axes in row:
        axes.set(xticks=[], yticks=[], aspect="equal", xlim=part.extent[1::-1], ylim=part.extent[2:])
        axes.grid(False)


def _draw_grid(axes: Axes, pair: Pair, part: Slice) -> None:
    """Contour lines of the map's two components in the plane, equally spaced in millimetres of the moving image."""
    axes.imshow(part.of(pair.folded), cmap="binary", vmin=0, vmax=1, origin="lower", extent=part.extent)
    apart = max(part.extent) / GRID_LINES
    for component, colour in zip(_in_plane(pair.fixed, part.axis), GRID_COLOURS, strict=True):
        millimetres = part.of(pair.phi[component]) * pair.moving.spacing[component]
        first, last = np.ceil(millimetres.min() / apart), np.floor(millimetres.max() / apart)
        levels, places = np.arange(first, last + 1) * apart, part.centres(*millimetres.shape)
        axes.contour(*places, millimetres, levels=levels, colors=colour, linewidths=0.7)


def _outline(
    axes: Axes, part: Slice, label: Image, points: torch.Tensor, structures: Structures, lines: str = "solid"
) -> None:
    """Outlines of the structures of a label at points [1, dim, up, right], where they are at least one half."""
    x, y = part.centres(*points.shape[2:])
    for name, colour in style.colours_on_grey(list(structures)).items():
        mask = crop(structure_mask(label.array, structures[name]), label.grid)
        inside = sample(*mask, points, outside="zeros")[0, 0].numpy()
        if inside.min() < HALF <= inside.max():
            axes.contour(x, y, inside, levels=[HALF], colors=[colour], linewidths=1.1, linestyles=lines)


def _points(image: Image, part: Slice) -> torch.Tensor:
    """Points in physical space that cover a slice of an image more finely than its voxels, [1, dim, up, right]."""
    axes = [(torch.arange(n * FINER, dtype=torch.float64) + 0.5) / FINER - 0.5 for n in image.shape]
    if part.axis is not None:
        axes[part.axis] = torch.tensor([float(part.index)], dtype=torch.float64)
    indices = torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]
    if part.axis is not None:
        indices = indices.squeeze(part.axis + 2)
    return apply_affine(image.grid.voxel_to_lps, indices.transpose(2, 3))
