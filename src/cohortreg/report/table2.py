"""The methods in the form of Table 2 of Greer et al. 2021, and what else was measured, as Markdown and as LaTeX."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from cohortreg.config import Model
from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import BY_KEY, DICE, MEASURES, UNION, Measure
from cohortreg.evaluation.sets import AS_PUBLISHED, MAIN, UNSEEN
from cohortreg.report import names

SIMILARITY = "L<sub>sim</sub>"
PUBLISHED = "published"
#: The headings that LaTeX sets as formulas.
LATEX_HEADS = {SIMILARITY: r"$\mathcal{L}_{\mathrm{sim}}$", "SD of log |J|": r"SD of $\log|J|$", "p": "$p$"}
#: Heads and rows of a table, in words.
Cells = tuple[list[str], list[list[str]]]
Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]
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
SETS = {
    MAIN: "those of the other tables and the figures",
    AS_PUBLISHED: "the published list with its repeats and images with themselves, each as often as it stands there",
    UNSEEN: "the main ones without a subject that a model of this configuration was trained on",
}
OTHER_SET = "those of this name in the table of pairs"


@dataclass(frozen=True)
class MethodsTable:
    """The table of methods, that of what else was measured, that of several sets, and below what the numbers are.

    Attributes:
        summary: The table that `tables/methods.csv` has.
        models: Of the configuration.
        reference: The method that the others are tested against.
        note: A sentence of the configuration's.
        sets: The table that `tables/sets.csv` has.
    """

    summary: pd.DataFrame
    models: Mapping[str, Model]
    reference: str
    note: str = ""
    sets: pd.DataFrame | None = None
    measures: Sequence[Measure] = MEASURES

    def markdown(self) -> str:
        """All of it as Markdown."""
        lines = []
        for texts, (heads, rows) in self._blocks():
            aligned = ["---"] * texts + ["---:"] * (len(heads) - texts)
            heads, *rows = [
                [" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in (heads, *rows)
            ]
            lines += [*(f"| {' | '.join(row)} |" for row in (heads, aligned, *rows)), ""]
        return "\n".join([*lines, *self._notes()]) + "\n"

    def latex(self) -> str:
        r"""The same, for \input into a document that uses booktabs."""
        lines = [r"% \usepackage{booktabs}"]
        for texts, (heads, rows) in self._blocks():
            heads = [LATEX_HEADS.get(head, _escape(head)) for head in heads]
            lines += [rf"\begin{{tabular}}{{{'l' * texts}{'r' * (len(heads) - texts)}}}", r"\toprule"]
            lines += [" & ".join(heads) + r" \\", r"\midrule"]
            lines += [" & ".join(map(_escape, row)) + r" \\" for row in rows]
            lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip"]
        return "\n".join([*lines, r"{\footnotesize", *map(_escape, self._notes()), r"\par}"]) + "\n"

    def _blocks(self) -> list[tuple[int, Cells]]:
        """The tables, each with the number of its first columns that are text."""
        tables = [(2, self._cells()), (1, self._details())]
        return tables if only_main(self.sets) else [*tables, (1, by_set(self.sets, self.measures))]

    def _cells(self) -> Cells:
        """The table in the form of the paper's; beside the measured the published results, where there are such."""
        columns: list[Column] = [
            ("Method", lambda row: names.description(row["method"], self.models)),
            (SIMILARITY, lambda row: row["similarity"] or numbers.MISSING),
        ]
        for measure in (measure for measure in self.measures if measure.headline):
            head = f"{measure.name} [95 %]" if measure is DICE else measure.title
            columns.append((head, partial(mean, measure)))
            if f"{measure.key}_published" in self.summary:
                columns.append((PUBLISHED, partial(published, measure)))
        return self._filled([*columns, ("p", lambda row: p_value(row, self.reference))])

    def _details(self) -> Cells:
        """The other measures: Dice by structure, and those that the paper's table lacks."""
        columns: list[Column] = [("Method", lambda row: row["method"])]
        for column in self.summary:
            if column != DICE.mean and column.startswith(DICE.of("")) and column.endswith("_mean"):
                structure = column.removeprefix(DICE.of("")).removesuffix("_mean")
                columns.append((f"{DICE.name} {structure}", partial(dice, column)))
        others = (measure for measure in self.measures if not (measure.headline or measure.beside))
        columns += [(measure.title, partial(mean, measure)) for measure in others]
        return self._filled([*columns, ("Pairs", lambda row: numbers.count(row["pairs"]))])

    def _filled(self, columns: list[Column]) -> Cells:
        rows = [[cell(row) for _, cell in columns] for row in self.summary.to_dict("records")]
        return [head for head, _ in columns], rows

    def _notes(self) -> list[str]:
        """What the numbers are, on how many pairs, on what hardware, and what failed: a sentence each."""
        pairs = int((self.summary["pairs"] + self.summary["failed"]).max())
        what = definitions(self.summary, self.reference, self.measures)
        sentences = [f"Means over {pairs:,} pairs.", *(f"{name}: {text}." for name, text in what.items())]
        if f"{DICE.key}_published" in self.summary:
            sentences.append("Published times are of other hardware.")
        if not only_main(self.sets):
            sentences.append(sets_in_words(self.sets))
        rows = self.summary[self.summary["failed"] > 0].itertuples()
        if failed := [f"{one.failed:,} of {one.pairs + one.failed:,} pairs of {one.method}" for one in rows]:
            sentences.append(f"Failed and left out: {', '.join(failed)}.")
        return [*filter(None, [self.note]), *sentences]


def only_main(sets: pd.DataFrame | None) -> bool:
    """Whether there is no more than one set, so that its means are those of the table of methods."""
    return sets is None or sets["set"].nunique() < 2


def by_set(sets: pd.DataFrame, measures: Sequence[Measure]) -> Cells:
    """The measures of every method over each set of pairs."""
    names_of_sets = sets["set"].unique()
    shown = [measure for measure in measures if measure.by_set and not measure.beside]
    heads = ["Method"]
    for name in names_of_sets:
        for measure in shown:
            unit = "[95 %]" if measure is DICE else measure.unit and f"[{measure.unit}]"
            heads.append(f"{measure.name} {name} {unit}".rstrip())
    rows = []
    for method, own in sets.groupby("method", sort=False):
        of_sets = own.set_index("set").loc[names_of_sets].to_dict("records")
        rows.append([method, *(mean(measure, each) for each in of_sets for measure in shown)])
    return heads, rows


def value(measure: Measure, row: Row, means: bool = False) -> str:
    """Write a measure in a row of the table of pairs, with the one beside it in brackets: 118 (0.041 %).

    Rows of the tables of methods and of sets have `means`.
    """
    at = (lambda one: row[one.mean]) if means else (lambda one: row[one.column])
    text = measure.write(at(measure))
    for other in MEASURES:
        if other.beside == measure.key and not math.isnan(at(measure)):
            text += f" ({other.write(at(other))} {other.unit})"
    return text


def mean(measure: Measure, row: Row) -> str:
    """A measure's mean in a row of the table of methods or of sets; that of Dice with its interval."""
    text = value(measure, row, means=True)
    return f"{text} {dice_interval(row)}".rstrip() if measure is DICE else text


def published(measure: Measure, row: Row) -> str:
    """A measure's published result; a mean count has the digits that it was published with."""
    write = numbers.exact if measure.write is numbers.count else measure.write
    return write(row.get(f"{measure.key}_published", math.nan))


def dice(column: str, row: Row) -> str:
    """The Dice that a column of a row has."""
    return DICE.write(row[column])


def dice_interval(row: Row) -> str:
    """The interval of a row's mean Dice."""
    return numbers.dice_interval(row[f"{DICE.mean}_low"], row[f"{DICE.mean}_high"])


def p_value(row: Row, reference: str) -> str:
    """The p value of a row's test."""
    return "reference" if row["method"] == reference else numbers.p_value(row["p_value"])


def definitions(summary: pd.DataFrame, reference: str, measures: Sequence[Measure]) -> dict[str, str]:
    """What each column of the tables of methods is: name -> definition."""
    found = {measure.name: measure.definition for measure in measures if not measure.beside}
    for other in MEASURES:
        if other.beside:
            found[BY_KEY[other.beside].name] += f", with the {other.definition}"
    found[DICE.name] += ", with the 95 % bootstrap confidence interval of the mean over the pairs"
    if machines := hardware_in_words(summary):
        found[BY_KEY["time_s"].name] += f", on {machines}"
    found["p"] = (
        f"two-sided Wilcoxon signed-rank test of the pairs' Dice against {reference}, Holm-corrected over the rows"
    )
    if DICE.of(f"{UNION}_mean") in summary:
        found[f"{DICE.name} {UNION}"] = "Dice of all structures together as one, not part of the mean"
    return found


def sets_in_words(sets: pd.DataFrame) -> str:
    """What each set of the table of sets is, with its number of pairs."""
    counts = (sets["pairs"] + sets["failed"]).groupby(sets["set"], sort=False).max()
    named = (
        f"{name}, {int(pairs):,} pair{'' if pairs == 1 else 's'}, {SETS.get(name, OTHER_SET)}"
        for name, pairs in counts.items()
    )
    return f"Sets of pairs: {'; '.join(named)}."


def hardware_in_words(summary: pd.DataFrame) -> str:
    """The hardware of the rows, each with its rows where it is not the same for all; empty if unknown."""
    rows = summary[summary["hardware"] != ""].groupby("hardware", sort=False)["method"].agg(list)
    if len(rows) == 1:
        return rows.index[0]
    return "; ".join(f"{machine} ({', '.join(methods)})" for machine, methods in rows.items())


def _escape(text: str) -> str:
    return "".join(LATEX_CHARACTERS.get(character, character) for character in text)
