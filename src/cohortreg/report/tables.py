"""Writing of the tables of a cohort: numbers as CSV, and the methods for reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table, write_table
from cohortreg.evaluation.published import read_published
from cohortreg.evaluation.sets import gather_sets, main_set
from cohortreg.evaluation.tables import (
    asked_pairs,
    asked_shards,
    hardware,
    images_of_trained_subjects,
    merge,
    summarise,
    summarise_sets,
)
from cohortreg.files import write_text
from cohortreg.layout import Layout
from cohortreg.report import table2


def write_tables(
    layout: Layout,
    methods: Sequence[str],
    models: Mapping[str, dict],
    similarities: Mapping[str, str],
    shards: int,
    reference: str,
    seed: int,
    published: Path | None = None,
    note: str = "",
) -> None:
    """Write `tables/pairs.csv`, `sets.csv` and, of the main set, `methods.csv`, the latter also as `.md` and `.tex`.

    reference: the method that the others are tested against. published: a table for `read_published`.
    note: a sentence of the configuration's, below the table.
    """
    pairs = merge(layout, methods, shards)
    main = main_set(pairs)
    sets = gather_sets(pairs, asked_pairs(layout), images_of_trained_subjects(layout, methods, models))
    sets = summarise_sets(sets, methods, seed)
    summary = summarise(main, similarities, reference, seed)
    asked = asked_shards(pairs, shards)
    summary["hardware"] = [hardware(layout, method, asked) for method in methods]
    if published:
        summary = summary.join(read_published(published), on="method")
    write_table(layout.pairs_table, pairs)
    write_table(layout.methods_table, summary)
    write_table(layout.sets_table, sets)
    write_text(layout.methods_markdown, table2.markdown(summary, models, reference, note, sets))
    write_text(layout.methods_latex, table2.latex(summary, models, reference, note, sets))


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
