"""The table of every pair of every method as the report's page reads it: its columns, and its rows in parts."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from cohortreg.evaluation.measures import DICE, MEASURES, UNION, Measure
from cohortreg.files import write_text
from cohortreg.report_layout import ReportLayout

PART = 5000  # rows
NARROWEST, WIDEST, RATING, PADDING = 6, 28, 13, 3  # characters
TEXTS = {"method": "Method", "moving": "Moving", "fixed": "Fixed", "set": "Set", "failure": "Failure"}


def columns(
    pairs: pd.DataFrame, structures: Sequence[str], measures: Sequence[Measure] = MEASURES
) -> list[dict[str, Any]]:
    """List the columns that have anything to show, in their order.

    Each has its key, title, full name and kind; a measure also its definition and which end is good. kind: text,
    rating, or a format of static/numbers.js.
    """
    shown = [_text(key) for key in ("method", "moving", "fixed")]
    if pairs["set"].ne("").any():
        shown.append(_text("set"))
    for measure in measures:
        measured = [_number(measure, measure.column, measure.title, measure.title)]
        # The others' by structure would be too many, and are in tables/pairs.csv.
        for name in (*structures, UNION) if measure is DICE else ():
            words = name.replace("_", " ")
            whole = "the union of all structures" if name == UNION else words
            full = f"{measure.name} of {whole} [{measure.unit}]"
            measured.append(_number(measure, measure.of(name), f"{measure.name} {words}", full))
        shown += [column for column in measured if has_values(pairs, column["key"])]
    shown.append({"key": "rating", "title": "Rating", "full": "Rating", "kind": "rating"})
    return [*shown, _text("failure")] if pairs["failure"].ne("").any() else shown


def widths(pairs: pd.DataFrame, shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The width of each column in characters, since a table of which a part is there would change with every row."""
    wide = {}
    for column in shown:
        longest = max(len(word) for word in column["title"].split())
        if column["kind"] == "text":
            longest = max(longest, min(WIDEST, pairs[column["key"]].str.len().max()))
        elif column["kind"] == "rating":
            longest = RATING
        wide[column["key"]] = int(max(longest, NARROWEST)) + PADDING
    return wide


def write_rows(
    report: ReportLayout,
    pairs: pd.DataFrame,
    shown: Sequence[Mapping[str, Any]],
    pages: Collection[tuple[str, str]],
) -> int:
    """Write the rows in parts, and return how many parts; `pages` has moving and fixed of the pairs with a page."""
    linked = set(pages)
    has_page = [int(pair in linked) for pair in zip(pairs["moving"], pairs["fixed"], strict=True)]
    pairs = pairs.assign(page=has_page)
    starts = range(0, len(pairs), PART)
    for number, start in enumerate(starts):
        part = pairs.iloc[start : start + PART]
        write_text(report.rows(number), f"cohortreg.rows({start}, {_part(part, shown)});\n")
    return len(starts)


def _text(key: str) -> dict[str, str]:
    return {"key": key, "title": TEXTS[key], "full": TEXTS[key], "kind": "text"}


def _number(measure: Measure, key: str, title: str, full: str) -> dict[str, Any]:
    said = {"title": title, "full": full, "kind": measure.write.__name__, "definition": measure.definition}
    return {"key": key, **said, "higherIsBetter": measure.higher_is_better}


def has_values(pairs: pd.DataFrame, key: str) -> bool:
    """Whether any pair has a value in a column."""
    return key in pairs and bool(pairs[key].notna().any())


def _part(rows: pd.DataFrame, shown: Sequence[Mapping[str, Any]]) -> str:
    """Rows as JSON, a list a column; texts are places in the list `strings`, which has each once."""
    texts = [column["key"] for column in shown if column["kind"] == "text"]
    codes, strings = pd.factorize(rows[texts].to_numpy(dtype=object).ravel())
    lists = {"strings": json.dumps(list(strings)), "page": _numbers(rows["page"])}
    lists |= {key: _numbers(codes[place :: len(texts)]) for place, key in enumerate(texts)}
    measures = (column["key"] for column in shown if column["kind"] not in ("text", "rating"))
    lists |= {key: _numbers(rows[key]) for key in measures}
    return ",\n".join(f"{json.dumps(key)}: {values}" for key, values in lists.items()).join("{}")


def _numbers(values: Collection[float]) -> str:
    """A JSON list with the six digits that the table has, null for what is missing."""
    return f"[{','.join('null' if value != value else f'{value:.6g}' for value in values)}]"
