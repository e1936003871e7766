"""The report: a folder with a page about the whole cohort and one about each pair, which needs nothing beside it."""

import base64
import hashlib
import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image as Picture

import cohortreg
from cohortreg.cohort.tables import read_table as read_text_table
from cohortreg.config import FITTED, Configuration, Model, trained_methods
from cohortreg.errors import UserError
from cohortreg.evaluation import names, numbers, table2
from cohortreg.evaluation.csv_files import read_table
from cohortreg.evaluation.sets import main_set, sets_in_words
from cohortreg.files import digest_file, read_json, renewed_folder, write_text
from cohortreg.layout import FIGURE_SUFFIXES, FIGURES, Layout, ReportLayout
from cohortreg.report import rows
from cohortreg.report.figures import shown_pairs
from cohortreg.report.pair_pages import page_address, write_pair_pages

PAIRS_WITHOUT_SCRIPTS = 100
FAILURES_AT_MOST = 50
DRAWN_SVG = 300_000  # bytes of the largest that a page shows; a dot a pair makes them large, and then slow
CSS_INCH = 96  # pixels
#: The one script that stands in a page, so that it runs where the folder of scripts is gone.
TELL_BROKEN = 'document.getElementById("broken").hidden = !document.getElementById("table").hidden;'
ENLARGED = 1.3  # text of 8 points becomes as large as the page's small text


def write_report(
    layout: Layout,
    config: Configuration,
    left_out: Sequence[str] = (),
    advance: Callable[[], None] = lambda: None,
) -> None:
    """Write the files of the report from the tables, figures and model cards, all of them or none.

    What else lies in the folder, such as ratings that a browser saved there, stays as it is.

    config: of the configuration at least methods, models, structures, report; all of it is shown. left_out: a sentence
    for each row whose software is missing. advance: called after each page of a pair. Raises UserError where a table or
    the cohort's summary is missing.
    """
    _require(layout)
    environment = templates()
    with renewed_folder(layout.report.root, layout.report.manifest) as folder:
        report = ReportLayout(folder)
        _copy_static(report)
        _copy_figures(layout, report)
        pages = write_pair_pages(folder, layout, config, environment, advance)
        content = _content(layout, config, report) | {"left_out": left_out, "root": ""}
        content |= _pairs(layout, config, report, pages)
        write_text(report.index, environment.get_template("index.html.j2").render(content))


def _require(layout: Layout) -> None:
    """Refuse what cannot be shown at all; a figure or a model's card that is missing is told on the page."""
    made = {layout.cohort: "cohort", layout.excluded: "cohort"}
    made |= dict.fromkeys((layout.pairs_table, layout.methods_table, layout.sets_table), "tables")
    for path, command in made.items():
        if not path.is_file():
            raise UserError(f"{path} is missing; run `cohortreg {command}` again before the report.")


def templates() -> Environment:
    """The report's templates, and filters that write numbers as the tables do."""
    environment = Environment(
        loader=PackageLoader("cohortreg", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    writers = {
        name: getattr(numbers, name)
        for name in ("dice", "distance", "spread", "seconds", "duration", "count", "percent")
    }
    environment.globals |= {"policy": content_security_policy(), "tell_broken": Markup(TELL_BROKEN)}
    environment.globals["number"] = lambda kind, value: writers[kind](value)
    environment.filters |= writers | {
        "plain": lambda value: "" if math.isnan(value) else repr(float(value)),
        "number_of": lambda count, what: f"{count:,} {what}" + ("" if count == 1 else "s"),
        "words": lambda name: name.replace("_", " "),
    }
    return environment


def content_security_policy() -> str:
    """What a browser lets a page of the report load: files of the report, from disk or a server, and pictures in it.

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


def _copy_static(report: ReportLayout) -> None:
    """Style and scripts of the package."""
    for source in (resources.files("cohortreg") / "report" / "static").iterdir():
        write_text(report.static(source.name), source.read_text("utf-8"))


def _copy_figures(layout: Layout, report: ReportLayout) -> None:
    for name in FIGURES:
        for suffix in FIGURE_SUFFIXES:
            if layout.figure(name, suffix).is_file():
                report.figure(name, suffix).parent.mkdir(exist_ok=True)
                shutil.copyfile(layout.figure(name, suffix), report.figure(name, suffix))


def _content(layout: Layout, config: Configuration, report: ReportLayout) -> dict:
    """What the template shows of the cohort as a whole."""
    for path in (layout.cohort, layout.excluded):
        digest_file(path)  # notes it as what the report comes from
    pairs, summary = read_table(layout.pairs_table), read_table(layout.methods_table)
    method = names.main_method(config.methods, config.models)
    main, sets = main_set(pairs), read_table(layout.sets_table)
    failures = pairs[pairs["failure"] != ""]
    excluded = read_text_table(layout.excluded, ["kind", "id", "reason"], "`cohortreg cohort`")
    shown, labelled = shown_pairs(main, method), _labelled(pairs)
    return {
        "cohort": read_json(layout.cohort, "`cohortreg cohort`"),
        "main_pairs": int(main["method"].eq(method).sum()),
        "method": method,
        "structures": list(config.structures) if labelled else [],
        "labelled": labelled,
        "summary": sentences(summary, method, config.report.reference),
        "best": best_rows(summary, method, _learned(config)),
        "excluded": excluded.to_dict("records"),
        "methods": [_in_words(row, config) for row in summary.to_dict("records")],
        "reference": config.report.reference,
        "published": config.report.published,
        "note": config.report.note,
        "sets": None if table2.only_main(sets) else table2.by_set(sets),
        "sets_in_words": sets_in_words(sets),
        "union": "dice_union_mean" in summary,
        "hardware": table2.hardware_in_words(summary),
        "failures": failures.head(FAILURES_AT_MOST).to_dict("records"),
        "all_failures": len(failures),
        "figures": _figures(report, shown),
        "ranked": bool(shown),
        "models": _models(layout, config.models),
        "config": yaml.safe_dump(config.plain(), sort_keys=False, allow_unicode=True),
        "version": cohortreg.__version__,
    }


def _pairs(
    layout: Layout, config: Configuration, report: ReportLayout, pages: Sequence[tuple[str, str]]
) -> dict:
    """Write the rows of the table of pairs, and what the template shows of it."""
    pairs = rows.worst_first(read_table(layout.pairs_table), config.methods)
    method = names.main_method(config.methods, config.models)
    columns = rows.columns(pairs, list(config.structures))
    labelled = _labelled(pairs)
    own = pairs[(pairs["method"] == method) & (pairs["failure"] == "")]
    return {
        "table": {
            "columns": columns,
            "widths": rows.widths(pairs, columns),
            "rows": len(pairs),
            "parts": rows.write_rows(report, pairs, columns, pages),
            "methods": list(config.methods),
            "sets": sorted(set(pairs["set"])) if pairs["set"].any() else [],
            "method": method,
            "sort": "dice_mean" if labelled else "folds_percent",
            "ascending": labelled,
        },
        "pages": len(pages),
        "absent": rows.missing_measures(pairs),
        "static_columns": [
            column for column in columns if column["key"] not in ("method", "set", "rating", "failure")
        ],
        "pairs": [
            row | {"page": _page(row, pages)} for row in own.head(PAIRS_WITHOUT_SCRIPTS).to_dict("records")
        ],
        "all_pairs": len(own),
    }


def _page(row: Mapping, pages: Sequence[tuple[str, str]]) -> str:
    """Address of the page of a row's pair, as the index has it; empty where it has none."""
    ids = row["moving"], row["fixed"]
    return f"pairs/{page_address(*ids)}" if ids in pages else ""


def _labelled(pairs: pd.DataFrame) -> bool:
    """Whether the cohort has labels, as the table of pairs tells: any Dice, or no pair that could have one."""
    return bool(pairs["dice_mean"].notna().any() or pairs["failure"].ne("").all())


def sentences(summary: pd.DataFrame, method: str, reference: str) -> str:
    """The result in words: Dice of the main method beside that of the reference and of doing nothing, folds, time."""
    rows = summary.set_index("method")
    row = rows.loc[method]
    if not row["pairs"]:
        return f"Registration by {method} failed for all {int(row['failed']):,} pairs."
    text = f"On {int(row['pairs']):,} pairs, {method} "
    if pd.notna(row["dice_mean"]):
        text += f"reaches a mean Dice of {numbers.dice(row['dice_mean'])} %"
        others = [
            name for name in dict.fromkeys((reference, "identity")) if name in rows.index and name != method
        ]
        beside = [
            f"{'unregistered' if name == 'identity' else name} {numbers.dice(rows.loc[name, 'dice_mean'])} %"
            for name in others
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

    method: the main one, of which more was said before. learned: the rows that need training.
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
    untrained = next((row for row in rows.index if row not in learned), None)
    return (
        f"{text}; without training, {untrained} is best, {measured(untrained)}." if untrained else f"{text}."
    )


def _learned(config: Configuration) -> set[str]:
    """The rows of models, trained here or imported."""
    imported = config.pretrained
    return {*trained_methods(config.models), *imported, *(name + FITTED for name in imported)}


def _in_words(row: Mapping, config: Configuration) -> dict:
    """A row of the table of methods, and what of it the template does not word itself."""
    return {
        **row,
        "steps": names.steps_in_words(row["method"], config.models),
        "similarity": row["similarity"] or numbers.MISSING,
        "interval": table2.dice_interval(row),
        "folds_percent": numbers.percent(row["folds_percent_mean"]) + " %" if row["pairs"] else "",
        "p": table2.p_value(row, config.report.reference),
        "published": _published(row),
    }


def _published(row: Mapping) -> dict[str, str]:
    """The published results beside a row, empty where there is none."""
    writers = {"dice": numbers.dice, "folds": numbers.exact, "time_s": numbers.seconds}
    values = {measure: row.get(f"{measure}_published", math.nan) for measure in writers}
    return {
        measure: "" if math.isnan(value) else writers[measure](value) for measure, value in values.items()
    }


def _figures(report: ReportLayout, shown: Mapping[str, pd.Series]) -> dict[str, dict]:
    """Name -> where the page finds the figure, empty if nowhere, and its files; for a pair's figure also its row of the
    table of pairs."""
    return {
        name: _figure(report, name) | dict(shown.get(name.removeprefix("pairs-"), {})) for name in FIGURES
    }


def _figure(report: ReportLayout, name: str) -> dict:
    """Sharp at any size as SVG, unless that would make the page slow; of images, PNG."""
    paths = [path for suffix in FIGURE_SUFFIXES if (path := report.figure(name, suffix)).is_file()]
    files = {path.suffix: str(path.relative_to(report.root)) for path in paths}
    svg = report.figure(name, "svg")
    small = svg.is_file() and svg.stat().st_size <= DRAWN_SVG and not name.startswith("pairs-")
    source = files.get(".svg" if small else ".png", "")
    return {
        "source": source or next(iter(files.values()), ""),
        "files": list(files.values()),
        "size": _size(report.figure(name, "png")),
    }


def _size(png: Path) -> Markup:
    """Attributes of an image with its width and height, which keep its place free before it is loaded: its inches, a
    little enlarged, so that all figures have text of one size."""
    if not png.is_file():
        return Markup("")
    with Picture.open(png) as picture:
        width, height = (
            round(pixels / dots * CSS_INCH * ENLARGED)
            for pixels, dots in zip(picture.size, picture.info.get("dpi", (CSS_INCH, CSS_INCH)), strict=True)
        )
    return Markup(f' width="{width}" height="{height}"')


def _models(layout: Layout, models: Mapping[str, Model]) -> list[dict]:
    """The card of every trained stage, and the row that it stands for."""
    rows = {stage: row for row, stage in reversed(trained_methods(models).items())}
    cards = []
    for name, model in models.items():
        for stage in range(1, len(model.stages) + 1):
            path = layout.model_card(name, stage)
            if path.exists():
                card = read_json(path)
                settings, is_icon = card["stages"][-1], model.is_icon
                resolution = names.resolution(settings["downsample"]) if is_icon else ""
                similarity = names.similarity_in_words(card["similarity"]) if is_icon else ""
                more = {"row": rows.get((name, stage), ""), "settings": settings, "resolution": resolution}
                more["last"] = stage == len(model.stages)
                cards.append(card | more | {"similarity": similarity})
    return cards
