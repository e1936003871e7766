"""The methods in the form of Table 2 of Greer et al. 2021, and what else was measured, as Markdown and as LaTeX."""

from collections.abc import Callable, Mapping

import pandas as pd

from cohortreg.evaluation import names, numbers
from cohortreg.evaluation.sets import sets_in_words

SIMILARITY = "L<sub>sim</sub>"
PUBLISHED = "published"
SPREAD = "SD log\\|J\\|"
LATEX_HEADS = {
    SIMILARITY: r"$\mathcal{L}_{\mathrm{sim}}$",
    SPREAD: r"SD $\log|J|$",
    "p": "$p$",
}
#: Heads and rows of a table, in words.
Cells = tuple[list[str], list[list[str]]]
Column = tuple[str, Callable[[dict], str]]
LATEX_CHARACTERS = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": "$|$",
    "–": "--",
}


def markdown(
    summary: pd.DataFrame,
    models: Mapping[str, dict],
    reference: str,
    note: str = "",
    sets: pd.DataFrame | None = None,
) -> str:
    """The table of methods, that of what else was measured, that of several sets, and below what the numbers are.

    summary: the table that `tables/methods.csv` has. reference: the method that the others are tested against. note:
    a sentence of the configuration's. sets: the table that `tables/sets.csv` has.
    """
    lines = []
    for texts, (heads, rows) in blocks(summary, models, reference, sets):
        aligned = ["---"] * texts + ["---:"] * (len(heads) - texts)
        rows = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
        lines += [*(f"| {' | '.join(row)} |" for row in (heads, aligned, *rows)), ""]
    return "\n".join([*lines, *notes(summary, reference, note, sets)]) + "\n"


def latex(
    summary: pd.DataFrame,
    models: Mapping[str, dict],
    reference: str,
    note: str = "",
    sets: pd.DataFrame | None = None,
) -> str:
    r"""The same, for \input into a document that uses booktabs."""
    lines = [r"% \usepackage{booktabs}"]
    for texts, (heads, rows) in blocks(summary, models, reference, sets):
        heads = [LATEX_HEADS.get(head, _escape(head)) for head in heads]
        lines += [rf"\begin{{tabular}}{{{'l' * texts}{'r' * (len(heads) - texts)}}}", r"\toprule"]
        lines += [" & ".join(heads) + r" \\", r"\midrule"]
        lines += [" & ".join(map(_escape, row)) + r" \\" for row in rows]
        lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip"]
    below = map(_escape, notes(summary, reference, note, sets))
    return "\n".join([*lines, r"{\footnotesize", *below, r"\par}"]) + "\n"


def blocks(
    summary: pd.DataFrame, models: Mapping[str, dict], reference: str, sets: pd.DataFrame | None
) -> list[tuple[int, Cells]]:
    """The tables, each with the number of its first columns that are text."""
    tables = [(2, cells(summary, models, reference)), (1, details(summary))]
    return tables if only_main(sets) else [*tables, (1, by_set(sets))]


def cells(summary: pd.DataFrame, models: Mapping[str, dict], reference: str) -> Cells:
    """The table in the form of the paper's; beside the measured the published results, where there are such."""
    columns: list[Column] = [
        ("Method", lambda row: names.description(row["method"], models)),
        (SIMILARITY, lambda row: row["similarity"] or numbers.MISSING),
        ("Dice [95 %]", lambda row: f"{numbers.dice(row['dice_mean'])} {dice_interval(row)}".rstrip()),
        (PUBLISHED, lambda row: numbers.dice(row["dice_published"])),
        ("Folds", lambda row: numbers.folds(row["folds_mean"], row["folds_percent_mean"])),
        (PUBLISHED, lambda row: numbers.exact(row["folds_published"])),
        ("Time [s]", lambda row: numbers.seconds(row["time_s_mean"])),
        (PUBLISHED, lambda row: numbers.seconds(row["time_s_published"])),
        ("p", lambda row: p_value(row, reference)),
    ]
    if "dice_published" not in summary:
        columns = [column for column in columns if column[0] != PUBLISHED]
    return _filled(columns, summary)


def details(summary: pd.DataFrame) -> Cells:
    """What else was measured: overlap by structure, distance, spread of the Jacobian, inverse error."""
    measured = [column for column in summary if column.startswith("dice_") and column.endswith("_mean")]
    columns: list[Column] = [("Method", lambda row: row["method"])]
    for measure in measured:
        if measure != "dice_mean":
            structure = measure.removeprefix("dice_").removesuffix("_mean")
            columns.append((f"Dice {structure}", lambda row, measure=measure: numbers.dice(row[measure])))
    columns += [
        ("HD95 [mm]", lambda row: numbers.distance(row["hd95_mean"])),
        (SPREAD, lambda row: numbers.spread(row["log_jacobian_std_mean"])),
        ("Inverse error [voxels]", lambda row: numbers.distance(row["inverse_consistency_voxels_mean"])),
        ("Pairs", lambda row: numbers.count(row["pairs"])),
    ]
    return _filled(columns, summary)


def only_main(sets: pd.DataFrame | None) -> bool:
    """Whether there is no more than one set, so that its means are those of the table of methods."""
    return sets is None or sets["set"].nunique() < 2


def by_set(sets: pd.DataFrame) -> Cells:
    """Dice and folds of every method over each set of pairs."""
    names_of_sets = sets["set"].unique()
    heads = ["Method"]
    for name in names_of_sets:
        heads += [f"Dice {name} [95 %]", f"Folds {name}"]
    rows = []
    for method, own in sets.groupby("method", sort=False):
        row = [method]
        for each in own.set_index("set").loc[names_of_sets].to_dict("records"):
            row.append(f"{numbers.dice(each['dice_mean'])} {dice_interval(each)}".rstrip())
            row.append(numbers.folds(each["folds_mean"], each["folds_percent_mean"]))
        rows.append(row)
    return heads, rows


def _filled(columns: list[Column], summary: pd.DataFrame) -> Cells:
    rows = [[cell(row) for _, cell in columns] for row in summary.to_dict("records")]
    return [head for head, _ in columns], rows


def dice_interval(row: Mapping) -> str:
    """The interval of a row's mean Dice."""
    return numbers.dice_interval(row["dice_mean_low"], row["dice_mean_high"])


def p_value(row: Mapping, reference: str) -> str:
    """What the test of a row says."""
    return "reference" if row["method"] == reference else numbers.p_value(row["p_value"])


def notes(
    summary: pd.DataFrame, reference: str, note: str = "", sets: pd.DataFrame | None = None
) -> list[str]:
    """What the numbers are, on how many pairs, on what hardware, and what failed: a sentence each."""
    pairs = int((summary["pairs"] + summary["failed"]).max())
    sentences = [
        f"Means over {pairs:,} pairs.",
        "Dice in percent, over the structures, with its 95 % bootstrap interval.",
        "Folds: voxels with a negative volume form, and percent of all.",
        f"p: two-sided Wilcoxon signed-rank test of the pairs' Dice against {reference}, Holm-corrected over the rows.",
    ]
    if not only_main(sets):
        sentences.append(sets_in_words(sets))
    if "dice_union_mean" in summary:
        sentences.append("Dice union: of all structures together as one, no part of the mean.")
    if machines := hardware_in_words(summary):
        sentences.append(f"Time: registering a pair, without reading and writing, on {machines}.")
    if "dice_published" in summary:
        sentences.append("Published times are of other hardware.")
    sentences.append(
        "HD95: 95 % Hausdorff distance, mean of the structures; SD log|J|: standard deviation of the logarithm of the "
        "Jacobian determinant, over voxels that are not folded; inverse error: how far from its start a voxel ends "
        "that goes there by one map and back by the other."
    )
    if failed := failures_in_words(summary):
        sentences.append(f"Failed and left out: {failed}.")
    return [*filter(None, [note]), *sentences]


def hardware_in_words(summary: pd.DataFrame) -> str:
    """The hardware of the rows, each with its rows where it is not the same for all; empty if unknown."""
    rows = summary[summary["hardware"] != ""].groupby("hardware", sort=False)["method"].agg(list)
    if len(rows) == 1:
        return rows.index[0]
    return "; ".join(f"{machine} ({', '.join(methods)})" for machine, methods in rows.items())


def failures_in_words(summary: pd.DataFrame) -> str:
    """How many pairs of which rows failed; empty if none."""
    rows = summary[summary["failed"] > 0]
    return ", ".join(
        f"{row.failed:,} of {row.pairs + row.failed:,} pairs of {row.method}" for row in rows.itertuples()
    )


def _escape(text: str) -> str:
    return "".join(LATEX_CHARACTERS.get(character, character) for character in text)
