"""The page about the whole cohort, and what all pages of a report share."""

import base64
import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image as Picture

import cohortreg
from cohortreg.config import FITTED, Model, trained_methods
from cohortreg.evaluation import numbers
from cohortreg.evaluation.measures import DICE, MEASURES, UNION, Measure
from cohortreg.evaluation.ranking import labelled, ranked_by, worst_first
from cohortreg.files import write_text
from cohortreg.losses.words import similarity_in_words
from cohortreg.report import names, table2
from cohortreg.report.comparison import Comparison, Source
from cohortreg.report.figures.registry import FIGURES
from cohortreg.report.pages import rows
from cohortreg.report.pages.pair_pages import page_address
from cohortreg.report_layout import FIGURE_SUFFIXES, ReportLayout

PAIRS_WITHOUT_SCRIPTS = 100
FAILURES_AT_MOST = 50
DRAWN_SVG = 300_000  # bytes of the largest that a page shows; a dot a pair makes them large, and then slow
CSS_INCH = 96  # pixels
#: The one script that stands in a page, so that it runs where the folder of scripts is gone.
TELL_BROKEN = 'document.getElementById("broken").hidden = !document.getElementById("table").hidden;'
ENLARGED = 1.3  # text of 8 points becomes as large as the page's small text


def templates() -> Environment:
    """The report's templates, and filters that write numbers as the tables do."""
    environment = Environment(
        loader=PackageLoader("cohortreg", "report/pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"policy": content_security_policy(), "tell_broken": Markup(TELL_BROKEN)}
    environment.globals["number"] = lambda kind, value: getattr(numbers, kind)(value)
    environment.filters |= {
        "duration": numbers.duration,
        "plain": lambda value: "" if math.isnan(value) else repr(float(value)),
        "number_of": lambda count, what: f"{count:,} {what}" + ("" if count == 1 else "s"),
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def content_security_policy() -> str:
    """The content security policy of a page: files of the report, from disk or a server, and embedded pictures.

    No script but these, whatever a name or a note holds, nothing of another host, and no form that sends anything.
    """
    script = base64.b64encode(hashlib.sha256(TELL_BROKEN.encode()).digest()).decode()
    # Of a page from disk, not every browser takes a file beside it for the same origin.
    own = "'self' file:"
    allowed = {
        "default-src": "'none'",
        "script-src": f"{own} 'sha256-{script}'",
        "style-src": own,
        "img-src": f"{own} data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{what} {sources}" for what, sources in allowed.items())


def copy_static(report: ReportLayout) -> None:
    """Style and scripts of the package."""
    for source in (resources.files("cohortreg") / "report" / "static").iterdir():
        write_text(report.static(source.name), source.read_text("utf-8"))


def write_index(
    report: ReportLayout,
    comparison: Comparison,
    excluded: Sequence[Mapping[str, Any]],
    pages: Sequence[tuple[str, str]],
    left_out: Sequence[str],
    environment: Environment,
) -> None:
    """Write the page about the cohort, and the rows of its table of pairs.

    Args:
        excluded: Kind, id and reason of every image and pair that was.
        pages: Moving and fixed of the pairs that have a page.
        left_out: A sentence for each row whose software is missing.
    """
    content = _content(comparison, report) | {"left_out": left_out, "root": "", "excluded": excluded}
    content |= _pairs(comparison, report, pages)
    write_text(report.index, environment.get_template("index.html.j2").render(content))


def _content(comparison: Comparison, report: ReportLayout) -> dict[str, Any]:
    """What the template shows of the cohort as a whole."""
    config, summary = comparison.config, comparison.methods
    pairs, sets, method = comparison.pairs, comparison.sets, comparison.main_method
    failures = pairs[pairs["failure"] != ""]
    has_labels, reference = labelled(pairs), config.report.reference
    imported = (name + end for name in config.pretrained for end in ("", FITTED))
    learned = {*trained_methods(config.models), *imported}
    return {
        "cohort": comparison.source.summary(),
        "main_pairs": int(comparison.main_pairs["method"].eq(method).sum()),
        "method": method,
        "structures": list(comparison.structures) if has_labels else [],
        "labelled": has_labels,
        "summary": sentences(summary, method, reference),
        "best": best_rows(summary, method, learned),
        "heads": [measure.title if measure else "p" for measure in _in_order(comparison)],
        "methods": [_in_words(row, comparison) for row in summary.to_dict("records")],
        "definitions": table2.definitions(summary, reference, comparison.measures),
        "by_structure": _by_structure(summary, comparison) if has_labels else None,
        "published": config.report.published,
        "note": config.report.note,
        "sets": None if table2.only_main(sets) else table2.by_set(sets, comparison.measures),
        "sets_in_words": table2.sets_in_words(sets),
        "failures": failures.head(FAILURES_AT_MOST).to_dict("records"),
        "all_failures": len(failures),
        "figures": _figures(comparison, report),
        "models": _models(comparison.source, config.models),
        "config": yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True),
        "version": cohortreg.__version__,
    }


def _pairs(comparison: Comparison, report: ReportLayout, pages: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Write the rows of the table of pairs, and what the template shows of it."""
    config, method = comparison.config, comparison.main_method
    pairs = worst_first(comparison.pairs, config.methods)
    columns = rows.columns(pairs, list(comparison.structures), comparison.measures)
    own = pairs[(pairs["method"] == method) & (pairs["failure"] == "")]
    first = own.head(PAIRS_WITHOUT_SCRIPTS)
    ranked = ranked_by(pairs)[0]
    return {
        "table": {
            "columns": columns,
            "widths": rows.widths(pairs, columns),
            "rows": len(pairs),
            "parts": rows.write_rows(report, pairs, columns, pages),
            "methods": list(config.methods),
            "sets": sorted(set(pairs["set"])) if pairs["set"].any() else [],
            "method": method,
            "sort": ranked.column,
            "ascending": ranked.higher_is_better,
        },
        "pages": len(pages),
        "absent": [one.title for one in comparison.measures if not rows.has_values(pairs, one.column)],
        "static_columns": [
            one for one in columns if one["key"] not in ("method", "set", "rating", "failure")
        ],
        "pairs": [row | {"page": _page(row, pages)} for row in first.to_dict("records")],
        "all_pairs": len(own),
    }


def _page(row: Mapping[str, Any], pages: Sequence[tuple[str, str]]) -> str:
    """Address of the page of a row's pair, as the index has it; empty where it has none."""
    ids = row["moving"], row["fixed"]
    return f"pairs/{page_address(*ids)}" if ids in pages else ""


def sentences(summary: pd.DataFrame, method: str, reference: str) -> str:
    """The result in words: Dice of the main method beside that of the reference and of doing nothing, folds, time."""
    rows = summary.set_index("method")
    row = rows.loc[method]
    if not row["pairs"]:
        return f"Registration by {method} failed for all {int(row['failed']):,} pairs."
    pairs = int(row["pairs"])
    text = f"On {pairs:,} {'pair' if pairs == 1 else 'pairs'}, {method} "
    if pd.notna(row["dice_mean"]):
        text += f"reaches a mean Dice of {numbers.dice(row['dice_mean'])} %"
        beside = [
            f"{'unregistered' if name == 'identity' else name} {numbers.dice(rows.loc[name, 'dice_mean'])} %"
            for name in dict.fromkeys((reference, "identity"))
            if name in rows.index and name != method
        ]
        text += f" ({', '.join(beside)}), with folds in " if beside else ", with folds in "
    else:
        text += "has folds in "
    text += f"{numbers.percent(row['folds_percent_mean'])} % of voxels"
    if pd.notna(row["inverse_consistency_voxels_mean"]):
        error = numbers.distance(row["inverse_consistency_voxels_mean"])
        text += f" and the maps of the two directions inverse to each other within {error} voxels on average"
    text += f". A pair takes {numbers.seconds(row['time_s_mean'])} s."
    return f"{text} {int(row['failed']):,} more failed." if row["failed"] else text


def best_rows(summary: pd.DataFrame, method: str, learned: Collection[str]) -> str:
    """Which row to use: the one of the highest mean Dice, and of those that need no training. Empty without labels.

    `method` is the main one, of which more was said before.
    """
    rows = summary[summary["dice_mean"].notna() & (summary["method"] != "identity")]
    if len(rows) < 2:
        return ""
    rows = rows.set_index("method").sort_values("dice_mean", ascending=False, kind="stable")

    def measured(row: str) -> str:
        dice, seconds = rows.loc[row, ["dice_mean", "time_s_mean"]]
        return f"{numbers.dice(dice)} % in {numbers.seconds(seconds)} s per pair"

    best = rows.index[0]
    text = "No row has a higher mean Dice"
    if best != method:
        text = f"The row with the highest mean Dice is {best}, {measured(best)}"
    if best not in learned:
        return f"{text}, and it needs no training."
    if untrained := next((row for row in rows.index if row not in learned), None):
        text += f"; without training, {untrained} is best, {measured(untrained)}"
    return f"{text}."


def _in_order(comparison: Comparison) -> list[Measure | None]:
    """The measures of the paper's table, None for its p, and the others; without those that share a cell."""
    shown = [measure for measure in comparison.measures if not measure.beside]
    others = (measure for measure in shown if not measure.headline)
    return [*(measure for measure in shown if measure.headline), None, *others]


def _in_words(row: Mapping[str, Any], comparison: Comparison) -> dict[str, Any]:
    """A row of the table of methods: what it is of, and its cells."""
    config = comparison.config
    p = {"value": row["p_value"], "text": table2.p_value(row, config.report.reference), "below": []}
    return {
        **row,
        "steps": names.steps_in_words(row["method"], config.models),
        "similarity": row["similarity"] or numbers.MISSING,
        "cells": [_cell(row, measure) if measure else p for measure in _in_order(comparison)],
    }


def _cell(row: Mapping[str, Any], measure: Measure) -> dict[str, Any]:
    """A measure's mean in a row of the table of methods, and in small letters below it what belongs to it."""
    below = [table2.dice_interval(row)] if measure is DICE else []
    if row["pairs"]:
        beside = (other for other in MEASURES if other.beside == measure.key)
        below += [f"{other.write(row[other.mean])} {other.unit}" for other in beside]
    if not math.isnan(row.get(f"{measure.key}_published", math.nan)):
        below.append(f"published {table2.published(measure, row)}")
    value = row[measure.mean]
    return {"value": value, "text": measure.write(value), "below": [*filter(None, below)]}


def _by_structure(summary: pd.DataFrame, comparison: Comparison) -> dict[str, Any]:
    """The table of means by structure: its measures, its structures, its rows, each with a cell a measure of each."""
    structures = list(comparison.structures)
    measures = [measure for measure in comparison.measures if measure.by_structure]
    unions = [measure for measure in measures if f"{measure.of(UNION)}_mean" in summary]
    columns = [(measure, measure.of(name)) for name in structures for measure in measures]
    columns += [(measure, measure.of(UNION)) for measure in unions]
    table = []
    for row in summary.to_dict("records"):
        cells = [measure.write(row[f"{column}_mean"]) for measure, column in columns]
        table.append({"method": row["method"], "cells": cells})
    titles = {"measures": [one.title for one in measures], "unions": [one.title for one in unions]}
    return titles | {"structures": structures, "rows": table}


def _figures(comparison: Comparison, report: ReportLayout) -> list[dict[str, Any]]:
    """The figures that the page shows, in their order."""
    said = {name: figure.said(comparison) for name, figure in FIGURES.items()}
    return [
        {"name": name, "figure": figure, "about": said[name], **_files(report, name, figure.pixels)}
        for name, figure in FIGURES.items()
        if said[name] is not None
    ]


def _files(report: ReportLayout, name: str, pixels: bool) -> dict[str, Any]:
    """List the files of a figure and choose the one that the page shows.

    That is SVG, which is sharp at any size, unless it would make the page slow; PNG for images.
    """
    paths = [path for suffix in FIGURE_SUFFIXES if (path := report.figure(name, suffix)).is_file()]
    files = {path.suffix: str(path.relative_to(report.root)) for path in paths}
    svg = report.figure(name, "svg")
    small = svg.is_file() and svg.stat().st_size <= DRAWN_SVG and not pixels
    source = files.get(".svg" if small else ".png", "") or next(iter(files.values()), "")
    return {"source": source, "files": list(files.values()), "size": _size(report.figure(name, "png"))}


def _size(png: Path) -> Markup:
    """The width and height attributes of an image, which reserve its place before it is loaded.

    They are its inches, a little enlarged, so that all figures have text of one size.
    """
    if not png.is_file():
        return Markup("")
    with Picture.open(png) as picture:
        inches = np.array(picture.size) / picture.info.get("dpi", CSS_INCH)
    width, height = (round(size * CSS_INCH * ENLARGED) for size in inches.tolist())
    return Markup(f' width="{width}" height="{height}"')


def _models(source: Source, models: Mapping[str, Model]) -> list[dict[str, Any]]:
    """The card of every trained stage, and the row that it stands for."""
    rows = {stage: row for row, stage in reversed(trained_methods(models).items())}
    cards = []
    for name, model in models.items():
        for stage in range(1, len(model.stages) + 1):
            if card := source.card(name, stage):
                settings, is_icon = card["stages"][-1], model.is_icon
                resolution = names.resolution(settings["downsample"]) if is_icon else ""
                similarity = similarity_in_words(card["similarity"]) if is_icon else ""
                more = {"row": rows.get((name, stage), ""), "settings": settings, "resolution": resolution}
                more["last"] = stage == len(model.stages)
                cards.append(card | more | {"similarity": similarity})
    return cards
