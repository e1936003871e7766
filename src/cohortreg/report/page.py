"""report.html: a cohort's results on one page that needs nothing beside it."""

import base64
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

import cohortreg
from cohortreg.config import OPTIMISED, trained_methods
from cohortreg.evaluation import names, numbers
from cohortreg.evaluation.tables import read_table
from cohortreg.files import read_json, write_text
from cohortreg.layout import Layout
from cohortreg.report.figures import rank, shown_pairs

PAIRS_AT_MOST = 1000
PAIRS_AT_FIRST = 100


def write_report(layout: Layout, config: Mapping) -> None:
    """Write `report.html` from the tables, figures and model cards.

    config: of the configuration at least methods, models, structures, report; all of it is shown.
    """
    environment = Environment(
        loader=PackageLoader("cohortreg", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "dice": numbers.dice,
        "distance": numbers.distance,
        "seconds": numbers.seconds,
        "duration": numbers.duration,
        "count": numbers.count,
        "percent": numbers.percent,
        "number_of": lambda count, what: f"{count:,} {what}" + ("" if count == 1 else "s"),
        "words": lambda name: name.replace("_", " "),
    }
    write_text(layout.report, environment.get_template("page.html.j2").render(_content(layout, config)))


def _content(layout: Layout, config: Mapping) -> dict:
    """Everything that the template shows."""
    pairs, summary = read_table(layout.pairs_table), read_table(layout.methods_table)
    method = names.main_method(config["methods"], config["models"])
    ranked = rank(pairs, method)[::-1]
    excluded = pd.read_csv(layout.excluded, sep="\t", dtype=str, keep_default_na=False)
    return {
        "cohort": read_json(layout.cohort),
        "method": method,
        "structures": list(config["structures"]),
        "summary": sentences(summary, method, config["report"]["reference"]),
        "excluded": excluded.to_dict("records"),
        "methods": _methods(summary, config["models"]),
        "figures": _figures(layout, shown_pairs(pairs, method)),
        "pairs": ranked.head(PAIRS_AT_MOST).to_dict("records"),
        "all_pairs": int((pairs["method"] == method).sum()),
        "at_first": PAIRS_AT_FIRST,
        "models": _models(layout, config["models"]),
        "registered_on": _hardware(layout, config["methods"]),
        "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        "version": cohortreg.__version__,
    }


def sentences(summary: pd.DataFrame, method: str, reference: str) -> str:
    """The result in words: Dice of the main method beside that of the reference and of doing nothing, folds, time."""
    rows = summary.set_index("method")
    row = rows.loc[method]
    text = f"On {int(row['pairs']):,} pairs, {method} "
    if pd.notna(row["dice_mean"]):
        text += f"reaches a mean Dice of {numbers.dice(row['dice_mean'])} %"
        others = [
            name for name in dict.fromkeys((reference, "identity")) if name in rows.index and name != method
        ]
        beside = [f"{_in_words(name)} {numbers.dice(rows.loc[name, 'dice_mean'])} %" for name in others]
        text += f" ({', '.join(beside)}), with folds in " if beside else ", with folds in "
    else:
        text += "has folds in "
    text += f"{numbers.percent(row['folds_percent_mean'])} % of voxels"
    if pd.notna(row["inverse_consistency_voxels_mean"]):
        error = numbers.distance(row["inverse_consistency_voxels_mean"])
        text += f" and the maps of the two directions inverse to each other within {error} voxels on average"
    return f"{text}. A pair takes {numbers.seconds(row['time_s_mean'])} s."


def _in_words(method: str) -> str:
    return "unregistered" if method == "identity" else method


def _methods(summary: pd.DataFrame, models: Mapping[str, dict]) -> list[dict]:
    rows = summary.to_dict("records")
    return [
        row
        | {
            "steps": names.steps_in_words(row["method"], models),
            "folds": numbers.folds(row["folds_mean"], row["folds_percent_mean"]),
            "similarity": row["similarity"] or numbers.MISSING,
        }
        for row in rows
    ]


def _figures(layout: Layout, shown: Mapping[str, pd.Series]) -> dict[str, dict]:
    """Name -> the PNG as a data URL, and for a pair's figure its row of the table of pairs."""
    figures = {name: {"source": _data_url(layout.figure(name))} for name in ("dice", "folds", "training")}
    for name, row in shown.items():
        figures[f"pairs-{name}"] = {"source": _data_url(layout.figure(f"pairs-{name}")), **row.to_dict()}
    return figures


def _data_url(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _models(layout: Layout, models: Mapping[str, dict]) -> list[dict]:
    """The card of every trained stage, and the method's name that it stands for."""
    cards = []
    for method, (model, stage) in trained_methods(models).items():
        path = layout.model_card(model, stage)
        if path.exists() and not method.endswith(OPTIMISED):  # the same stage, fitted to each pair
            card = read_json(path)
            settings = card["stages"][-1]
            cards.append(
                card
                | {
                    "method": method,
                    "settings": settings,
                    "resolution": names.resolution(settings["downsample"]),
                }
            )
    return cards


def _hardware(layout: Layout, methods: list[str]) -> list[str]:
    """What the times were measured on; more than one entry where shards ran on different machines."""
    paths = [
        path for method in methods for path in sorted(layout.registered_shard(method, 0).parent.glob("*.csv"))
    ]
    return sorted({name for path in paths for name in read_table(path)["hardware"].unique()})
