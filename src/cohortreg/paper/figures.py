"""Figures 2 to 6 of the paper."""

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cohortreg.evaluation.regularity import inverse_consistency_error
from cohortreg.files import read_json
from cohortreg.images.grid import Grid
from cohortreg.layout import PaperLayout
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.maps.transforms import to_physical
from cohortreg.paper import matching
from cohortreg.paper.cells import SWAPS
from cohortreg.paper.direct import NOISE, optimise_maps
from cohortreg.paper.plan import DATASETS, FIGURE3, FIGURE5, FIGURE6, NETWORKS, Cell, Run, figure_cells
from cohortreg.provenance import running
from cohortreg.report.figures import style

ON_GRID, OFF_GRID = "#0072b2", "#d55e00"
PAIRS = 2  # shown in Figure 5


def draw_grid(axes: Axes, phi: np.ndarray, every: int = 1, colour: str = ON_GRID) -> None:
    """Draw where a map phi [2, *grid] in unit coordinates takes the lines of the grid, in pixels, rows downwards."""
    rows, columns = (phi[axis] * (phi.shape[1 + axis] - 1) for axis in (0, 1))
    axes.plot(columns[::every].T, rows[::every].T, color=colour, linewidth=0.5)
    axes.plot(columns[:, ::every], rows[:, ::every], color=colour, linewidth=0.5)


def draw_map(axes: Axes, phi: np.ndarray, words: str) -> None:
    """Draw a map's grid alone, at most 32 lines each way, and words below it."""
    draw_grid(axes, phi, max(1, phi.shape[1] // 32))
    rows, columns = phi.shape[1:]
    axes.set(aspect="equal", xlim=(-1, columns), ylim=(rows, -1), xticks=[], yticks=[])
    axes.set_xlabel(words, fontsize="small", labelpad=1)


def draw_image(axes: Axes, image: np.ndarray) -> None:
    """Draw an image in grey, without axes."""
    axes.imshow(image, cmap="gray")
    axes.set_axis_off()


def count_folds(phi: np.ndarray) -> int:
    """Folds of a map [2, *grid]."""
    return int(folds(torch.from_numpy(phi)[None]).item())


def finish(figure: Figure, title: str, footer: str) -> Figure:
    """Put the title above and what the figure was made from below."""
    characters = int(figure.get_figwidth() * 18)
    wrapped = "\n".join(textwrap.wrap(footer, characters))
    figure.suptitle("\n".join(textwrap.wrap(title, characters * 2 // 3)), x=0.01, ha="left", weight="bold")
    figure.supxlabel(wrapped, x=0.01, ha="left", fontsize="small", color=style.MUTED)
    return figure


def _examples(layout: PaperLayout, cell: Cell) -> Mapping[str, np.ndarray]:
    """A cell's held-out pairs as it registered them."""
    running().reads(layout.examples(*cell))
    return np.load(layout.examples(*cell), allow_pickle=False)


def figure2(layout: PaperLayout, run: Run) -> Figure:
    """The one-dimensional pair, a minimiser of the squared error, and one of optimal transport."""
    x, moving, fixed = matching.example_pair()
    figure, panels = plt.subplots(2, 2, figsize=(style.PAGE, 5.6), sharex=True)
    for axes, values, name in (
        (panels[0, 0], moving, "(a) Moving, A"),
        (panels[0, 1], fixed, "(b) Fixed, B"),
    ):
        axes.plot(x, values, color=style.INK)
        axes.set(title=name, ylim=(-0.05, 1.1))
    solutions = {
        "(c) MSE: nearest value": matching.match_by_intensity(moving, fixed),
        "(d) OMT: sorting": matching.match_by_sorting(moving, fixed),
    }
    for axes, (name, matched) in zip(panels[1], solutions.items(), strict=True):
        axes.plot(x, x[matched], ".-", color=ON_GRID, linewidth=0.4, markersize=4)
        reached = len(np.unique(matched))
        error = matching.mean_squared_error(moving, fixed, matched)
        axes.set(title=name, xlabel="x", ylabel="Φ(x)")
        axes.text(
            0, 1.04, f"reaches {reached} of {len(x)} points; mean squared error {error:.1e}", fontsize="small"
        )
        axes.set_ylim(-0.05, 1.15)
    return finish(
        figure,
        "Figure 2. A pair of functions, and maps that minimise squared error and optimal transport",
        run.untrained(len(x)),
    )


def figure3(layout: PaperLayout, run: Run) -> Figure:
    """Swapped background pixels after training on the grid and off it."""
    figure, panels = plt.subplots(2, 3, figsize=(style.PAGE, 6.4))
    trained = zip(panels, FIGURE3, ("on the grid", "off the grid"), (ON_GRID, OFF_GRID), strict=True)
    for row, cell, name, colour in trained:
        examples = _examples(layout, cell)
        phi = examples["phi"][0]
        for axes, key in zip(row, ("moving", "fixed"), strict=False):
            draw_image(axes, examples[key][0])
            axes.set_title(key.capitalize())
        draw_image(row[2], examples["warped"][0])
        draw_grid(row[2], phi, colour=colour)
        row[2].set_title(
            f"Evaluated {name}\n{swaps_left(phi)} of {len(SWAPS)} swaps, {count_folds(phi)} folds"
        )
    return finish(
        figure,
        "Figure 3. Swapped background pixels after training with inverse consistency on and off the grid",
        f"Both networks start from a map that swaps {len(SWAPS)} pairs of neighbouring background pixels. "
        f"{DATASETS[cell.dataset]}, λ = {cell.weight}. " + run.trained_on(cell.dataset, [cell.network]),
    )


def swaps_left(phi: np.ndarray) -> int:
    """How many pairs of `SWAPS` a map [2, *grid] still takes past each other."""
    return sum(bool(phi[1, row, column] > phi[1, row, column + 1]) for row, column in SWAPS)


def figure4(layout: PaperLayout, run: Run) -> Figure:
    """Four points that map to each other inverse consistently, and what lies between them, which does not."""
    phi = matching.swapped_points()
    on_grid, off_grid = matching.losses_on_and_off_grid(phi)
    grid, between = np.arange(4) / 3, (np.arange(3) + 0.25) / 3
    figure, panels = plt.subplots(2, 2, figsize=(style.PAGE, 5.4), sharex=True)
    for column, (points, colour, names) in enumerate(
        [
            (grid, ON_GRID, ("(a) Forward, grid points", "(b) Backward, grid points")),
            (between, OFF_GRID, ("(c) Forward, off the grid", "(d) Backward, off the grid")),
        ]
    ):
        there = matching.mapped(phi, points)
        _arrows(panels[0, column], points, there, colour, names[0], grid)
        _arrows(panels[1, column], there, matching.mapped(phi, there), colour, names[1], grid)
        panels[1, column].plot(points, np.full_like(points, 0), "x", color=style.INK, markersize=7)
        panels[1, column].set_xlabel("unit coordinate; × marks where the points came from")
    return finish(
        figure,
        "Figure 4. Points that swap come home on the grid and not off it: inverse consistency "
        f"{on_grid:.4f} at the four points, {off_grid:.4f} between them",
        run.untrained(4),
    )


def _arrows(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str, name: str, grid: np.ndarray) -> None:
    """Arrows from points on an upper line to where a map takes them on a lower line."""
    axes.hlines([0, 1], 0, 1, color=style.MUTED, linewidth=0.8)
    axes.plot([grid, grid], [np.zeros(4), np.ones(4)], "|", color=style.MUTED)
    for before, after in zip(start, end, strict=True):
        axes.annotate(
            "", (after, 0), (before, 1), arrowprops={"arrowstyle": "->", "color": colour, "shrinkB": 4}
        )
    axes.plot(start, np.ones_like(start), "o", color=colour)
    axes.set(title=name, yticks=[], xlim=(-0.05, 1.05), ylim=(-0.2, 1.2))
    axes.grid(False)


@dataclass(frozen=True)
class Registered:
    """A pair of images as one of Figure 5's ways registers it.

    Attributes:
        warped: [*grid].
        phi: The map from the fixed to the moving image, [2, *grid] in unit coordinates.
        phi_back: The other way.
    """

    warped: np.ndarray
    phi: np.ndarray
    phi_back: np.ndarray

    def words(self) -> str:
        """Folds, how steep the displacement is, and how far there and back again misses."""
        # In space, a pixel is a millimetre.
        grid = Grid(self.warped.shape, np.eye(self.warped.ndim + 1))
        forward, back = (
            to_physical(torch.from_numpy(phi)[None] - identity_map(grid.shape), grid, grid)
            for phi in (self.phi, self.phi_back)
        )
        return (
            f"{count_folds(self.phi)} folds, |∇D|² {steepness(self.phi):.2f},\n"
            f"misses {inverse_consistency_error(forward, back):.2f} px"
        )


def steepness(phi: np.ndarray) -> float:
    """Mean of |∇D|² over the pixels, what Eq. 11 says that noise makes small; phi [2, *grid] in unit coordinates."""
    pixels = np.array(phi.shape[1:]).reshape(2, 1, 1) - 1
    displacement = phi * pixels - np.indices(phi.shape[1:])
    return float(sum((derivative**2).sum(0).mean() for derivative in np.gradient(displacement, axis=(1, 2))))


def register_directly(moving: np.ndarray, fixed: np.ndarray, noise: float, run: Run) -> Registered:
    """Register images [*grid] by direct optimisation of both maps."""
    images = (torch.from_numpy(moving)[None, None], torch.from_numpy(fixed)[None, None])
    maps = optimise_maps(*images, noise, run.settings.direct, FIGURE5.weight, run.seed)
    phi = maps.on_grid(moving.shape)
    return Registered(interpolate(images[0], phi[:1])[0, 0].numpy(), *phi.numpy())


def figure5(layout: PaperLayout, run: Run) -> Figure:
    """Direct optimisation of both maps without and with noise against the U-Net."""
    examples = _examples(layout, FIGURE5)
    shown = typical(examples["moving"], examples["fixed"], PAIRS)
    figure, panels = plt.subplots(2 * PAIRS, 4, figsize=(style.PAGE, 4.4 * PAIRS))
    for number, pair in enumerate(shown):
        moving, fixed = examples["moving"][pair], examples["fixed"][pair]
        results = {
            "Direct, no noise": register_directly(moving, fixed, 0, run),
            "Direct, noise": register_directly(moving, fixed, NOISE, run),
            "U-Net": Registered(*(examples[key][pair] for key in ("warped", "phi", "phi_back"))),
        }
        _draw_registered(panels[2 * number : 2 * number + 2], moving, fixed, results)
    return finish(
        figure,
        "Figure 5. Maps by direct optimisation without noise, with noise of 1/8 pixel, and by the U-Net; "
        f"λ = {FIGURE5.weight:,}",
        f"Direct optimisation: {run.settings.direct.steps:,} steps a pair. "
        + run.trained_on(FIGURE5.dataset, [FIGURE5.network]),
    )


def typical(moving: np.ndarray, fixed: np.ndarray, count: int) -> list[int]:
    """The pairs of images [pairs, *grid] whose difference is nearest to the median, the nearest first."""
    difference = ((moving - fixed) ** 2).mean((1, 2))
    return np.argsort(np.abs(difference - np.median(difference)), kind="stable")[:count].tolist()


def _draw_registered(
    panels: np.ndarray, moving: np.ndarray, fixed: np.ndarray, results: Mapping[str, Registered]
) -> None:
    """Moving above fixed, and beside them each warped image above its map."""
    for axes, image, name in zip(panels[:, 0], (moving, fixed), ("Moving", "Fixed"), strict=True):
        draw_image(axes, image)
        axes.set_title(name)
    for column, (name, result) in enumerate(results.items(), start=1):
        draw_image(panels[0, column], result.warped)
        panels[0, column].set_title(name)
        draw_map(panels[1, column], result.phi, result.words())


def figure6(name: str) -> Callable[[PaperLayout, Run], Figure]:
    """What draws Figure 6 of a data set: each network's warped images and maps along the weights, from 0."""

    def draw(layout: PaperLayout, run: Run) -> Figure:
        networks = getattr(run.settings.table1, FIGURE6[name])
        weights = [0, *run.settings.weights]
        size = (1.35 * (len(weights) + 1) + 0.4, 2.7 * len(networks) + 1.4)
        figure, panels = plt.subplots(2 * len(networks), len(weights) + 1, figsize=size)
        for cell in figure_cells(name, run.settings.table1.plain(), run.settings.weights):
            row, column = 2 * networks.index(cell.network), 1 + weights.index(cell.weight)
            _draw_cell(panels[row : row + 2, [0, column]], layout, cell)
            panels[row, column].set_title(f"λ = {cell.weight:,}")
            panels[row, 0].set_title(NETWORKS[cell.network])
        title = (
            f"Figure 6. {DATASETS[FIGURE6[name]]}: moving and fixed; warped and map; mean folds of all pairs"
        )
        return finish(figure, title, run.trained_on(FIGURE6[name], networks))

    return draw


def _draw_cell(panels: np.ndarray, layout: PaperLayout, cell: Cell) -> None:
    """Moving above fixed in the first column, warped above map in the second, of a typical pair."""
    examples = _examples(layout, cell)
    (pair,) = typical(examples["moving"], examples["fixed"], 1)
    for axes, key in zip(panels.flat, ("moving", "warped", "fixed"), strict=False):
        draw_image(axes, examples[key][pair])
    draw_map(panels[1, 1], examples["phi"][pair], f"{read_json(layout.measured(*cell))['folds']:.1f} folds")


DRAWN: dict[str, Callable[[PaperLayout, Run], Figure]] = {
    "figure2": figure2,
    "figure3": figure3,
    "figure4": figure4,
    "figure5": figure5,
}
DRAWN |= {name: figure6(name) for name in FIGURE6}


def draw(layout: PaperLayout, name: str, run: Run) -> None:
    """Write a figure, one of `plan.FIGURES`, as PNG and SVG."""
    style.apply()
    style.save(DRAWN[name](layout, run), layout.figure_files(name))
