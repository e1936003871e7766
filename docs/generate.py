"""Writes what other files say of the measures and figures, from the objects that define them: make generated."""

import textwrap
from pathlib import Path

from cohortreg.evaluation.measures import MEASURES, UNION, Measure
from cohortreg.report.figures.registry import FIGURES

REPOSITORY = Path(__file__).parents[1]
WIDTH = 120
MARK = "<!-- measures: written by make generated -->\n"


def captions() -> dict[Path, str]:
    """Captions of Snakemake's report: path -> text."""
    texts = {name: f"{figure.title}. {figure.caption}" for name, figure in FIGURES.items()}
    texts["pairs"] = (
        f"One row per method and pair. {_columns(pairs=True)} ``failure``: why the pair was not registered. An empty "
        "cell: nothing to measure, or none. Dice is from 0 to 1."
    )
    texts["methods"] = (
        f"One row per method, means over the pairs that it registered: ``pairs``; ``failed`` is how many it did not. "
        f"``similarity``: what the method maximises. {_columns(pairs=False)} ``dice_std``: standard deviation of "
        "``dice_mean`` between pairs. ``hardware``: what times were measured on. ``..._low``, ``..._high``: ends of "
        "the mean's 95 % bootstrap confidence interval. ``p_value``: two-sided Wilcoxon signed-rank test of the pairs' "
        "Dice against the reference's, Holm-corrected over the rows. ``..._published``: published results. An empty "
        "cell: nothing to measure. Dice is from 0 to 1."
    )
    folder = REPOSITORY / "workflow" / "report"
    return {folder / f"{name}.rst": textwrap.fill(text, WIDTH) + "\n" for name, text in texts.items()}


def _columns(pairs: bool) -> str:
    """The measures of a table in a sentence each."""
    return " ".join(
        f"``{measure.column if pairs else measure.mean}``: {measure.definition}." for measure in MEASURES
    )


def outputs() -> dict[Path, str]:
    """The page of output files, with the measures' rows between two marks."""
    path = REPOSITORY / "docs" / "outputs.md"
    before, _, after = path.read_text("utf-8").split(MARK)
    rows = ["| column | measure | what |", "| --- | --- | --- |", *map(_row, MEASURES)]
    return {path: MARK.join([before, "\n".join(["", *rows, "", ""]), after])}


def _row(measure: Measure) -> str:
    columns = [measure.column, *(measure.of(name) for name in measure.parts(["{structure}"]))]
    name, text = measure.name.replace("|", "\\|"), measure.definition
    if measure.of_union:
        columns.append(measure.of(UNION))
        text += (
            f"; `{columns[-1]}`: of the union of all structures, if there are several, not part of the mean"
        )
    return f"| {', '.join(f'`{column}`' for column in columns)} | {name} | {text} |"


def generated() -> dict[Path, str]:
    """Every generated file: path -> its text."""
    return captions() | outputs()


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
