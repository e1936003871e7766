"""The tables of the whole cohort: one row a method and pair, one row a method, and the form of the paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cohortreg.cohort.shards import shard_of
from cohortreg.errors import UserError
from cohortreg.evaluation import names, numbers
from cohortreg.files import whole, write_text
from cohortreg.layout import Layout

IDS = ("method", "moving", "fixed")
TEXT = dict.fromkeys((*IDS, "similarity"), str)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV with identifiers as text; only empty cells are missing, since an image may well be called NA."""
    table = pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values=[""])
    return table.fillna({column: "" for column in TEXT if column in table})


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV, whole or not at all.

    With six digits, and nothing beyond the ninth decimal: what is left of zero by rounding errors is zero.
    """
    with whole(path) as beside:
        table.round(9).to_csv(beside, index=False, float_format="%.6g", lineterminator="\n")


def merge(layout: Layout, methods: Sequence[str], shards: int) -> pd.DataFrame:
    """The rows of every evaluated shard for the cohort's pairs: methods in the order given, pairs sorted.

    Raises UserError if a shard or a pair was not evaluated.
    """
    wanted = pd.read_csv(layout.pairs, sep="\t", dtype=str, keep_default_na=False)[["moving", "fixed"]]
    # A shard that no pair belongs to was never asked for.
    asked = sorted({shard_of(pair.moving, pair.fixed, shards=shards) for pair in wanted.itertuples()})
    tables = []
    for method in methods:
        evaluated = _read_shards([layout.evaluated_shard(method, shard) for shard in asked])
        # Pairs that the cohort no longer has may still lie in a shard.
        table = wanted.merge(evaluated, on=["moving", "fixed"])[evaluated.columns]
        if len(table) < len(wanted):
            raise UserError(
                f"{layout.pairs} names {len(wanted) - len(table)} pairs that {method} was not evaluated on: "
                f"run `cohortreg register` and `cohortreg evaluate` again for every shard of {method}."
            )
        tables.append(table.sort_values(["moving", "fixed"]))
    return pd.concat(tables, ignore_index=True)


def _read_shards(paths: Sequence[Path]) -> pd.DataFrame:
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is missing: run `cohortreg evaluate` for that shard and method first.")
    tables = [read_table(path) for path in paths]
    # An empty shard has columns without a type, which would spoil those of the others.
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def summarise(pairs: pd.DataFrame, similarities: Mapping[str, str]) -> pd.DataFrame:
    """One row a method, in their order: means over its pairs, and the spread of Dice between pairs.

    similarities: method -> the similarity that it maximises, empty where it maximises none. A pair without a value
    (no label, no inverse) does not count. dice_std is the sample standard deviation.
    """
    measures = [name for name in pairs.columns if name not in IDS]
    grouped = pairs.groupby("method", sort=False)
    means = (
        grouped[measures].mean().rename(columns=lambda name: name if name == "dice_mean" else f"{name}_mean")
    )
    means.insert(0, "pairs", grouped.size())
    means.insert(means.columns.get_loc("dice_mean") + 1, "dice_std", grouped["dice_mean"].std())
    means.insert(0, "similarity", [similarities[method] for method in means.index])
    return means.reset_index()


def markdown(summary: pd.DataFrame, models: Mapping[str, dict]) -> str:
    """The methods in the form of Table 2 of Greer et al. 2021: Dice in percent, mean folds a pair."""
    lines = [
        "| Method | L<sub>sim</sub> | Dice | Folds | Time [s] |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for row in summary.itertuples():
        cells = [
            names.description(row.method, models),
            row.similarity or numbers.MISSING,
            numbers.dice(row.dice_mean),
            numbers.folds(row.folds_mean, row.folds_percent_mean),
            numbers.seconds(row.time_s_mean),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_tables(
    layout: Layout,
    methods: Sequence[str],
    models: Mapping[str, dict],
    similarities: Mapping[str, str],
    shards: int,
) -> None:
    """Write `tables/pairs.csv`, `tables/methods.csv` and `tables/methods.md`."""
    pairs = merge(layout, methods, shards)
    summary = summarise(pairs, similarities)
    write_table(layout.pairs_table, pairs)
    write_table(layout.methods_table, summary)
    write_text(layout.methods_markdown, markdown(summary, models))
