"""The tables of a cohort, the numbers as CSV and the methods for reading: the job of the rule `tables`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cohortreg.cohort.shards import shards_of
from cohortreg.cohort.tables import distinct
from cohortreg.cohort.tables import read_table as read_text_table
from cohortreg.config import Model, trained_methods
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import IDS, read_table, write_table
from cohortreg.evaluation.measures import MEASURES, Measure
from cohortreg.evaluation.published_numbers import read_published
from cohortreg.evaluation.sets import gather_sets, main_set
from cohortreg.evaluation.summaries import summarise, summarise_sets
from cohortreg.files import write_text
from cohortreg.jobs.registered import cohort_pairs
from cohortreg.jobs.training_sets import trained_on
from cohortreg.layout import Layout
from cohortreg.report.table2 import MethodsTable


def write_tables(
    layout: Layout,
    methods: Sequence[str],
    models: Mapping[str, Model],
    similarities: Mapping[str, str],
    shards: int,
    reference: str,
    seed: int,
    published: Path | None = None,
    note: str = "",
    measures: Sequence[Measure] = MEASURES,
) -> None:
    """Write `tables/pairs.csv`, `sets.csv` and, of the main set, `methods.csv`, the latter also as `.md` and `.tex`.

    Args:
        similarities: Method -> the similarity that it maximises.
        reference: The method that the others are tested against.
        published: A table for `read_published`.
        note: A sentence of the configuration's, below the table.
    """
    pairs = merge(layout, methods, shards, measures)
    main = main_set(pairs)
    sets = gather_sets(pairs, cohort_pairs(layout), images_of_trained_subjects(layout, methods, models))
    sets = summarise_sets(sets, methods, seed, measures)
    summary = summarise(main, similarities, reference, seed, measures)
    numbers = shards_of(pairs, shards)
    summary["hardware"] = [hardware(layout, method, numbers) for method in methods]
    if published:
        summary = summary.join(read_published(published), on="method")
    write_table(layout.pairs_table, pairs)
    write_table(layout.methods_table, summary)
    write_table(layout.sets_table, sets)
    table = MethodsTable(summary, models, reference, note, sets, measures)
    write_text(layout.methods_markdown, table.markdown())
    write_text(layout.methods_latex, table.latex())


def refuse_failed_rows(layout: Layout) -> None:
    """Raise UserError where a method registered none of the pairs of the tables: a fault to fix, not a result."""
    for method, rows in read_table(layout.pairs_table).groupby("method", sort=False):
        if (rows["failure"] != "").all():
            first = rows.iloc[0]
            raise UserError(
                f"{method} registered none of its {len(rows)} pairs, {first['moving']} to {first['fixed']} because "
                f"{first['failure'].removesuffix('.')}; fix that, its logs are in {layout.logs}, or take "
                f"{method} out of `methods`."
            )


def merge(
    layout: Layout, methods: Sequence[str], shards: int, measures: Sequence[Measure] = MEASURES
) -> pd.DataFrame:
    """Gather the rows of every evaluated shard for the cohort's pairs, each once: methods in order, pairs sorted.

    Raises:
        UserError: A shard or a pair was not evaluated.
    """
    distinct_pairs = distinct(cohort_pairs(layout))
    tables, numbers = [], shards_of(distinct_pairs, shards)
    for method in methods:
        evaluated = _read_shards([layout.evaluated_shard(method, shard) for shard in numbers], measures)
        # Pairs that the cohort no longer has may still lie in a shard.
        table = distinct_pairs.merge(evaluated, on=["moving", "fixed"])[
            [*IDS, *evaluated.columns.difference(IDS, sort=False)]
        ]
        if len(table) < len(distinct_pairs):
            raise UserError(
                f"{layout.pairs} names {len(distinct_pairs) - len(table)} pairs that {method} was not evaluated on: "
                f"run `cohortreg register-shard` and `cohortreg evaluate` again for every shard of {method}."
            )
        tables.append(table.sort_values(["moving", "fixed"]))
    return pd.concat(tables, ignore_index=True)


def _read_shards(paths: Sequence[Path], measures: Sequence[Measure]) -> pd.DataFrame:
    for path in paths:
        if not path.exists():
            raise UserError(f"{path} is missing: run `cohortreg evaluate` for that shard and method first.")
    needed = ["moving", "fixed", "failure", *(measure.column for measure in measures)]
    tables = [read_table(path, needed, "`cohortreg evaluate` for that shard and method") for path in paths]
    # An empty shard has columns without a type, which would spoil those of the others.
    return pd.concat([table for table in tables if len(table)] or tables[:1])


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
