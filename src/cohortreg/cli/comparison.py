"""Commands for evaluating, tables, figures, the report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cohortreg.cli import app
from cohortreg.cli.options import Config, PairShard, Results, configured
from cohortreg.cli.progress import progress_bar
from cohortreg.layout import Layout

#: Of --settings: measures of other packages.
MEASURES: dict[str, Any] = {"measures": (list[str], [])}
Shards = Annotated[int, typer.Option(min=1, help="How many shards of pairs there are.")]


@app.command("evaluate")
def evaluate_command(
    results: Results,
    method: Annotated[str, typer.Option(help="The method that registered the pairs, such as affine.")],
    settings: Annotated[
        str,
        typer.Option(
            help='JSON: {"structures": {name: [...]}}, its label values; "measures": those of other packages.'
        ),
    ] = "",
    config: Config = None,
    shard: PairShard = 0,
) -> None:
    """Measure overlap and distance of structures, folds and inverse consistency of a shard's registered pairs."""
    from cohortreg.evaluation.measures import measures_with
    from cohortreg.jobs.evaluate import evaluate_shard, registered_pairs
    from cohortreg.jobs.registered import in_cohort

    layout, configuration = Layout(results), configured(settings, config, "structures", **MEASURES)
    measures = measures_with(configuration.measures)
    pairs = in_cohort(layout, registered_pairs(layout, method, shard))
    with progress_bar(f"Evaluating {method}", len(pairs)) as advance:
        measured = evaluate_shard(layout, method, shard, pairs, configuration.structures, advance, measures)
    kept = len(pairs) - measured
    typer.echo(f"{layout.evaluated_shard(method, shard)}: {measured} new, {kept} kept")


@app.command("tables")
def tables_command(
    results: Results,
    settings: Annotated[
        str,
        typer.Option(
            help="JSON: of the configuration methods, models, pretrained, method_settings, report, seed, measures."
        ),
    ] = "",
    config: Config = None,
    shards: Shards = 1,
) -> None:
    """Gather the evaluated shards of all methods in tables/pairs.csv, methods.csv, .md and .tex, and sets.csv."""
    from cohortreg.evaluation.measures import measures_with
    from cohortreg.jobs.tables import refuse_failed_rows, write_tables
    from cohortreg.methods.registry import similarity_of

    layout = Layout(results)
    own: dict[str, Any] = MEASURES | {"method_settings": (dict[str, dict[str, Any]], {})}
    configuration = configured(settings, config, "methods", "models", "pretrained", "report", "seed", **own)
    methods, models, compared = configuration.methods, configuration.models, configuration.report
    others = configuration.pretrained, configuration.method_settings
    similarities = {method: similarity_of(method, models, *others) for method in methods}
    write_tables(
        layout,
        methods,
        models,
        similarities,
        shards,
        reference=compared.reference,
        seed=configuration.seed,
        published=Path(compared.published) if compared.published else None,
        note=compared.note or "",
        measures=measures_with(configuration.measures),
    )
    typer.echo(layout.methods_markdown.read_text("utf-8"), nl=False)
    refuse_failed_rows(layout)


@app.command("figures")
def figures_command(
    results: Results,
    settings: Annotated[
        str, typer.Option(help='JSON: {"methods": [...], "models": {...}, "structures": {...}}.')
    ] = "",
    config: Config = None,
) -> None:
    """Draw every figure, as PNG and as SVG."""
    from cohortreg.jobs.comparison import read_comparison
    from cohortreg.jobs.figures import draw_figures
    from cohortreg.report.figures.registry import FIGURES

    layout = Layout(results)
    configuration = configured(settings, config, "methods", "models", "structures", **MEASURES)
    draw_figures(layout, read_comparison(layout, configuration))
    typer.echo(f"{len(FIGURES)} figures in {layout.figure(next(iter(FIGURES))).parent}.")


@app.command("report")
def report_command(
    results: Results,
    settings: Annotated[str, typer.Option(help="JSON: the configuration; it is shown in the report.")] = "",
    config: Config = None,
) -> None:
    """Write the folder report/, whose index.html a browser opens from disk; it needs nothing beside it."""
    from cohortreg.config import Configuration
    from cohortreg.jobs.comparison import read_comparison
    from cohortreg.jobs.report import write_report
    from cohortreg.report.pages.pair_pages import choose_pairs
    from cohortreg.settings import Text

    layout = Layout(results)
    own: dict[str, Any] = MEASURES | {"left_out": (list[Text], [])}
    configuration = configured(
        settings, config, *(key for key in Configuration.model_fields if key not in own), **own
    )
    left_out = getattr(configuration, "left_out", [])  # of --settings alone
    comparison = read_comparison(layout, configuration)
    with progress_bar("Pages of pairs", len(choose_pairs(comparison))) as advance:
        write_report(layout, comparison, left_out, advance)
    typer.echo(f"The report is written. Open it in a browser: {layout.report.index.resolve()}")
