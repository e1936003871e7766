"""The tables of the whole cohort: one row per method and pair, one row per method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cohortreg.cohort.shards import shard_of
from cohortreg.cohort.tables import distinct, with_sets
from cohortreg.cohort.tables import read_table as read_text_table
from cohortreg.cohort.training_sets import trained_on
from cohortreg.config import Model, trained_methods
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import IDS, read_table
from cohortreg.evaluation.measures import DICE, MEASURES
from cohortreg.evaluation.statistics import mean_interval, paired_p_values
from cohortreg.layout import Layout


def merge(layout: Layout, methods: Sequence[str], shards: int) -> pd.DataFrame:
    """The rows of every evaluated shard for the cohort's pairs, each once: methods in the order given, pairs sorted.

    Raises UserError if a shard or a pair was not evaluated.
    """
    wanted = distinct(asked_pairs(layout))
    tables, asked = [], asked_shards(wanted, shards)
    for method in methods:
        evaluated = _read_shards([layout.evaluated_shard(method, shard) for shard in asked])
        # Pairs that the cohort no longer has may still lie in a shard.
        table = wanted.merge(evaluated, on=["moving", "fixed"])[
            [*IDS, *evaluated.columns.difference(IDS, sort=False)]
        ]
        if len(table) < len(wanted):
            raise UserError(
                f"{layout.pairs} names {len(wanted) - len(table)} pairs that {method} was not evaluated on: "
                f"run `cohortreg register-shard` and `cohortreg evaluate` again for every shard of {method}."
            )
        tables.append(table.sort_values(["moving", "fixed"]))
    return pd.concat(tables, ignore_index=True)


def asked_pairs(layout: Layout) -> pd.DataFrame:
    """The cohort's pairs with repeats: moving, fixed, set."""
    pairs = read_text_table(layout.pairs, ["moving", "fixed"], "`cohortreg cohort`")
    return with_sets(pairs)[["moving", "fixed", "set"]]


def asked_shards(pairs: pd.DataFrame, shards: int) -> list[int]:
    """The shards that any pair belongs to; the others were never asked for."""
    ids = set(zip(pairs["moving"], pairs["fixed"], strict=True))
    return sorted({shard_of(moving, fixed, shards=shards) for moving, fixed in ids})


def _read_shards(paths: Sequence[Path]) -> pd.DataFrame:
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is missing: run `cohortreg evaluate` for that shard and method first.")
    needed = ["moving", "fixed", "failure", *(measure.column for measure in MEASURES)]
    tables = [read_table(path, needed, "`cohortreg evaluate` for that shard and method") for path in paths]
    # An empty shard has columns without a type, which would spoil those of the others.
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def summarise(
    pairs: pd.DataFrame, similarities: Mapping[str, str], reference: str, seed: int
) -> pd.DataFrame:
    """One row a method, in their order: means over the pairs that were registered.

    pairs: the table of pairs. similarities: method -> the similarity that it maximises, empty where it maximises none.
    A pair without a value (no label, no inverse) does not count. `dice_std` is the sample standard deviation between
    pairs; means of headline measures have the ends of their 95 % bootstrap interval; `p_value` tests whether Dice
    differs from the reference's, see `cohortreg.evaluation.statistics`.
    """
    summary = pd.DataFrame(
        {"method": method, "similarity": similarities[method], **_means(rows, seed)}
        for method, rows in pairs.groupby("method", sort=False)
    )
    dice = pairs.pivot(index=["moving", "fixed"], columns="method", values=DICE.column)
    p_values = paired_p_values(dice, reference)
    summary.insert(summary.columns.get_loc("dice_std") + 1, "p_value", summary["method"].map(p_values))
    return summary


def _means(rows: pd.DataFrame, seed: int) -> dict[str, float]:
    """The means of one method: numbers of pairs, and the mean of every measure with its spread."""
    registered = rows[rows["failure"] == ""]
    means: dict[str, float] = {"pairs": len(registered), "failed": len(rows) - len(registered)}
    of_pairs = {measure.column: measure for measure in MEASURES}
    for column in (column for column in rows if column not in (*IDS, "failure")):
        measure = of_pairs.get(column)
        # Of a structure, which may be called x_mean beside another one called x, the mean has a name of its own.
        mean = measure.mean if measure else f"{column}_mean"
        means[mean] = registered[column].mean()
        if measure and measure.headline:
            means[f"{mean}_low"], means[f"{mean}_high"] = mean_interval(registered[column], seed)
        if measure is DICE:
            means["dice_std"] = registered[column].std()
    return means


def summarise_sets(sets: Mapping[str, pd.DataFrame], methods: Sequence[str], seed: int) -> pd.DataFrame:
    """A row for each method and set: means of the measures `by_set` over the set's pairs that the method registered.

    sets: name -> rows of the table of pairs, a pair as often as it counts.
    """
    rows = []
    for method in methods:
        for name, pairs in sets.items():
            own = pairs.loc[pairs["method"] == method, ["failure", *_of_sets(pairs)]]
            rows.append({"method": method, "set": name, **_means(own, seed)})
    return pd.DataFrame(rows)


def _of_sets(pairs: pd.DataFrame) -> list[str]:
    """The columns of a table of pairs that have means over sets."""
    measures = [measure for measure in MEASURES if measure.by_set]
    kept = {measure.column for measure in measures}
    of_structures = tuple(measure.of("") for measure in measures if measure.by_structure)
    return [column for column in pairs if column in kept or column.startswith(of_structures)]


def images_of_trained_subjects(
    layout: Layout, methods: Sequence[str], models: Mapping[str, Model]
) -> set[str]:
    """The cohort's images of subjects that a model of any of the methods was trained on."""
    needed = {model for method, (model, _) in trained_methods(models).items() if method in methods}
    if not needed:
        return set()
    images = read_text_table(layout.images, ["image_id", "subject_id"], "`cohortreg cohort`")
    learnt = images["subject_id"][images["image_id"].isin(trained_on(layout, sorted(needed)))]
    return set(images["image_id"][images["subject_id"].isin(learnt)])


def hardware(layout: Layout, method: str, shards: Sequence[int]) -> str:
    """The hardware that a method's pairs were registered on; several machines are joined by "and".

    Empty where the transforms' folder, which says it, was removed.
    """
    paths = [layout.registered_shard(method, shard) for shard in shards]
    tables = [read_table(path, ["hardware"]) for path in paths if path.exists()]
    return " and ".join(sorted({name for table in tables for name in table["hardware"] if name}))
