"""The figures of a cohort, an entry each.

Only texts are here, so that nothing is imported that draws before it is wanted: the workflow reads this file for each
of its jobs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure

    from cohortreg.report.comparison import Comparison


@dataclass(frozen=True)
class Figure:
    """A figure of the report, of `figures/` and of Snakemake's report.

    Attributes:
        title: Its heading.
        caption: What it shows and how to read it, whatever the cohort.
        alt: What is to be seen, for those who do not see it.
        draw: The function that draws it, below `cohortreg.report.figures`; given a `Comparison`, it returns a figure of
            matplotlib, also where there is nothing to draw.
        about: A function beside it that says what the figure is of in this cohort, on the page before the caption;
            None leaves the figure out of the page. Empty where there is nothing to say.
        category: Where Snakemake's report has it.
        pixels: It shows images, so that the page has it as PNG.
        half: Half as wide as the page, so that two stand beside each other.
    """

    title: str
    caption: str
    alt: str
    draw: str
    about: str = ""
    category: str = "Comparison"
    pixels: bool = False
    half: bool = False

    def drawn(self, comparison: "Comparison") -> "matplotlib.figure.Figure":
        """Draw the figure."""
        return _function(self.draw)(comparison)

    def said(self, comparison: "Comparison") -> str | None:
        """The caption in this cohort; None where the page omits the figure."""
        return _function(self.about)(comparison) if self.about else ""


def _function(path: str) -> Callable[..., Any]:
    return resolve_name(f"{__package__}.{path}")


def _pair(place: str) -> Figure:
    return Figure(
        title=f"The {place} pair",
        caption="Moving, fixed and warped image and deformed grid, in the form of Figure 1 of Greer et al. (2021). Of "
        "volumes, the slices of the fixed image where its structures are largest, the patient's right and front at the "
        "left, and of a mirrored image the left; the moving image is shown at the same slices. Outlines of the "
        "structures are solid, on the warped image those of the fixed image are dotted. The grid shows lines of equal "
        "position in the moving image, equally spaced in millimetres, blue across and orange along; black voxels are "
        "folds. Pairs are ranked by mean Dice, without labels by folds.",
        alt=f"Moving, fixed and warped image and deformed grid of the {place} pair",
        draw=f"pair_panels.draw_{place}",
        about=f"pair_panels.about_{place}",
        category="Registration",
        pixels=True,
    )


BOXES = (
    "Box: quartiles over the pairs; whiskers: the furthest pair within 1.5 interquartile ranges; a dot per pair, of "
    "more than 400 only those beyond the whiskers."
)
POINTS = "A point per method; bars: the 95 % bootstrap confidence intervals of both means over the pairs."

#: By name, in the order of the page. A file is called by the name.
FIGURES = {
    "pairs-best": _pair("best"),
    "pairs-median": _pair("median"),
    "pairs-worst": _pair("worst"),
    "dice": Figure(
        title="Dice by structure",
        caption=f"Dice of each structure by method, in percent; a panel per structure. {BOXES}",
        alt="Dice of each structure by method, as boxes over the pairs",
        draw="charts.draw_dice",
    ),
    "folds": Figure(
        title="Folds by method",
        caption="Percent of voxels at which the map reverses orientation, on an axis that is logarithmic above 0.001 "
        f"percent. {BOXES}",
        alt="Percentage of folded voxels by method, as boxes over the pairs",
        draw="charts.draw_folds",
    ),
    "dice-folds": Figure(
        title="Dice against folds",
        caption="Mean Dice of each method against its mean number of folds per pair, on an axis that is logarithmic "
        f"above 1. {POINTS}",
        alt="Mean Dice of each method against its mean number of folds a pair",
        draw="tradeoffs.draw_dice_against_folds",
        half=True,
    ),
    "dice-time": Figure(
        title="Dice against time",
        caption="Mean Dice of each method against its mean time to register a pair, without reading and writing files, "
        f"on a logarithmic axis. {POINTS}",
        alt="Mean Dice of each method against its mean time a pair",
        draw="tradeoffs.draw_dice_against_time",
        about="tradeoffs.about_time",
        half=True,
    ),
    "training": Figure(
        title="Training",
        caption="Training of every model, its stages one after another: the similarity loss, the regularity loss "
        "before it is weighted, the mean number of folds per pair of the batch, and the weight of the regularity loss. "
        "Every step thinly and its running median; dots are means over validation pairs; a new stage begins at each "
        "dashed line.",
        alt="Training curves: similarity, inverse consistency, folds and weight by training step",
        draw="charts.draw_training",
        category="Training",
    ),
}
