"""The contact sheet of a cohort: three middle slices of every image on as few pages as can be read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from cohortreg.files import whole
from cohortreg.images.checks import Checked, MiddleSlice
from cohortreg.images.image import Structures
from cohortreg.report.figures import style

COLOURS = {"ok": style.MUTED, "warning": "#de8f05", "bad": "#c1272d"}
COLUMNS = 5
# Inches.
TILE, BETWEEN, NAME, MARGIN = 2.6, 0.16, 0.2, 0.16
TITLE, ENTRY, LINE = 1.8, 1.4, 0.18  # widths of title and of a legend's entry, height of a line of the legend
GAP = 0.02  # between two slices
HEIGHTS = (0.5, 1.6)  # of a tile's slices
LETTER = 0.062  # width of one, on average, at FONT
FONT, DPI = 7.5, 120


def draw_sheets(
    pages: Sequence[Path], checked: Sequence[Checked], structures: Structures, images_a_page: int
) -> None:
    """Write every page of the contact sheet.

    All on a page is drawn in one coordinate system, inches from its upper left corner: hundreds of axes would take
    minutes.
    """
    style.apply()
    height = _slices_height(checked)
    for number, path in enumerate(pages):
        shown = checked[number * images_a_page : (number + 1) * images_a_page]
        title = f"{len(checked)} images" + (f", page {number + 1} of {len(pages)}" if len(pages) > 1 else "")
        figure = _page(shown, height, title, structures)
        with whole(path) as beside:
            figure.savefig(beside, dpi=DPI)
        plt.close(figure)


def _slices_height(checked: Sequence[Checked]) -> float:
    """Height that the slices of a typical image have when they fill a tile's width."""
    shapes = [_strip(image.facts.slices) for image in checked if image.facts is not None]
    heights = [(TILE - 2 * GAP) * high / wide for wide, high in shapes]
    return float(np.clip(np.median(heights), *HEIGHTS)) if heights else HEIGHTS[0]


def _strip(slices: Sequence[MiddleSlice]) -> tuple[float, float]:
    """Width and height of slices side by side, in millimetres."""
    return sum(part.size[0] for part in slices), max(part.size[1] for part in slices)


def _page(shown: Sequence[Checked], height: float, title: str, structures: Structures) -> Figure:
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    # The header needs room where a cohort has one or two images.
    wide = 2 * MARGIN + max(columns, 3) * (TILE + BETWEEN) - BETWEEN
    dot: dict[str, Any] = {"color": "none", "marker": "o", "markersize": 5, "markeredgecolor": "none"}
    marks = [Line2D([], [], **dot, markerfacecolor=COLOURS[name], label=name) for name in ("warning", "bad")]
    entries = marks + style.structure_lines(list(structures), longest=18)
    entries_a_line = int((wide - TITLE) / ENTRY)
    first = MARGIN + LINE * -(-len(entries) // entries_a_line) + BETWEEN
    high = first + rows * (NAME + height + BETWEEN) - BETWEEN + MARGIN
    figure = plt.figure(figsize=(wide, high), layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, wide), ylim=(high, 0))
    axes.set_axis_off()
    axes.text(MARGIN, MARGIN, title, fontsize=11, weight="bold", va="top")
    axes.legend(
        handles=entries, loc="upper right", ncols=entries_a_line, fontsize=FONT, handlelength=1.2, borderpad=0,
        borderaxespad=0, bbox_to_anchor=(wide - MARGIN, MARGIN), bbox_transform=axes.transData,
    )  # fmt: skip
    for number, image in enumerate(shown):
        left = MARGIN + number % columns * (TILE + BETWEEN)
        top = first + number // columns * (NAME + height + BETWEEN)
        _draw_tile(axes, image, left, top, height, structures)
    # What was drawn must not have changed the limits.
    axes.set(xlim=(0, wide), ylim=(high, 0), aspect="auto")
    return figure


def _draw_tile(
    axes: Axes, image: Checked, left: float, top: float, height: float, structures: Structures
) -> None:
    """Draw the image's name over its slices, from `left` and `top` in inches; a colour marks what is not ok."""
    colour, marked = COLOURS[image.status], image.status != "ok"
    _draw_name(axes, image.image_id, left, top + NAME / 2, colour if marked else None)
    top += NAME
    frame: dict[str, Any] = {"xy": (left, top), "width": TILE, "height": height}
    if image.facts is None:
        dashed: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.5}
        axes.add_patch(Rectangle(**frame, fill=False, edgecolor=colour, **dashed))
        return
    axes.add_patch(Rectangle(**frame, facecolor="black", edgecolor="none", zorder=1))
    wide, high = _strip(image.facts.slices)
    scale = min((TILE - 2 * GAP) / wide, height / high)
    start = left + (TILE - 2 * GAP - wide * scale) / 2
    for part in image.facts.slices:
        right, up = (size * scale for size in part.size)
        above = top + (height - up) / 2
        _draw_slice(axes, part, (start, start + right, above + up, above), structures)
        start += right + GAP
    if marked:
        axes.add_patch(Rectangle(**frame, fill=False, edgecolor=colour, linewidth=2, zorder=4))


def _draw_name(axes: Axes, name: str, left: float, middle: float, mark: str | None) -> None:
    """An image's name, shortened to a tile's width; behind a dot and in its colour where it is marked."""
    longest = int(TILE / LETTER) - (3 if mark else 0)
    if mark:
        axes.plot(left + 0.05, middle, "o", color=mark, markersize=5, markeredgecolor="none")
    look: dict[str, Any] = {"color": mark, "weight": "bold"} if mark else {"color": style.INK}
    look |= {"fontsize": FONT, "va": "center", "parse_math": False}
    axes.text(left + 0.13 * bool(mark), middle, style.short(name, longest), **look)


def _draw_slice(
    axes: Axes, part: MiddleSlice, extent: tuple[float, float, float, float], structures: Structures
) -> None:
    """Draw a slice and the outlines of its structures within (left, right, bottom, top) on the page, in inches."""
    grey: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "bilinear"}
    axes.imshow(part.image.T, **grey, origin="lower", extent=extent, aspect="auto", zorder=2)
    if part.label is None:
        return
    left, right, bottom, top = extent
    wide, high = part.label.shape
    x = left + (np.arange(wide) + 0.5) / wide * (right - left)
    y = bottom + (np.arange(high) + 0.5) / high * (top - bottom)
    for name, colour in style.colours_on_grey(list(structures)).items():
        mask = np.isin(part.label, list(structures[name]))
        if mask.any() and not mask.all():
            axes.contour(x, y, mask.T, levels=[0.5], colors=[colour], linewidths=0.8, zorder=3)
