"""Table 1: Dice and folds of four networks over the weight of inverse consistency, beside the published ones."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import write_table
from cohortreg.files import read_json, write_text
from cohortreg.layout import PaperLayout
from cohortreg.paper.plan import DATASETS, NETWORKS, Cell, Run, table1_cells
from cohortreg.provenance import running

MEASURES = ("dice", "folds")
# What the Dice of these networks is held to on MNIST.
BEST, NEAR, UP_TO = ("mlp", "unet"), 0.03, 512


def gather(layout: PaperLayout, cells: Sequence[Cell], published: Path) -> pd.DataFrame:
    """A row a cell: what was measured, what was published, and the first less the second."""
    paths = [layout.measured(*cell) for cell in cells]
    for path in paths:
        running().reads(path)
    table = pd.DataFrame([read_json(path) for path in paths]).drop(columns="variant")
    beside = read_published(published)
    table = table.merge(beside, on=["dataset", "lambda", "network"], how="left", validate="one_to_one")
    for measure in MEASURES:
        table[f"{measure}_difference"] = table[measure] - table[f"{measure}_published"]
    first = ["dataset", "lambda", "network"]
    first += [f"{measure}{kind}" for measure in MEASURES for kind in ("", "_published", "_difference")]
    return table[first + [column for column in table if column not in first]]


def read_published(path: Path) -> pd.DataFrame:
    """The paper's Table 1: dataset, lambda, network, dice_published, folds_published."""
    table = pd.read_csv(path)
    missing = {"dataset", "lambda", "network", *MEASURES} - set(table)
    if missing:
        raise UserError(f"{path}: has no column {min(missing)}; take the file from the repository.")
    names = {shown: name for name, shown in NETWORKS.items()}
    table["network"] = table["network"].map(names)
    return table.rename(columns={measure: f"{measure}_published" for measure in MEASURES})


def write(layout: PaperLayout, published: Path, run: Run) -> str:
    """Write the table as CSV and as Markdown, and return the Markdown."""
    networks = run.settings.table1.plain()
    table = gather(layout, table1_cells(networks, run.settings.weights), published)
    write_table(layout.table1, table.assign(preset=run.preset))
    parts = [f"# Table 1, preset {run.preset}", "Measured / published / difference."]
    for dataset, named in networks.items():
        rows = table[table["dataset"] == dataset]
        parts += [f"## {DATASETS[dataset]}", run.trained_on(dataset, named), _markdown(rows, named)]
        parts += _findings(rows, named)
    text = "\n\n".join(parts) + "\n"
    write_text(layout.table1_markdown, text)
    return text


def _markdown(rows: pd.DataFrame, networks: Sequence[str]) -> str:
    """A data set's half of the table, in the form of the paper."""
    heads = [f"{NETWORKS[name]} {measure}" for name in networks for measure in ("Dice", "folds")]
    lines = ["| λ | " + " | ".join(heads) + " |", "| ---: |" + " ---: |" * len(heads)]
    for weight, of_weight in rows.groupby("lambda"):
        by_network = of_weight.set_index("network")
        values = [_triple(by_network.loc[network], measure) for network in networks for measure in MEASURES]
        lines.append(f"| {weight:,} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _triple(row: pd.Series, measure: str) -> str:
    """0.91 / 0.92 / -0.01."""
    measured, published, difference = (row[f"{measure}{kind}"] for kind in ("", "_published", "_difference"))
    return f"{measured:.2f} / {published:.2f} / {difference:+.2f}"


def _findings(rows: pd.DataFrame, networks: Sequence[str]) -> list[str]:
    """What this half of the table shows of what the paper says: how near Dice is, and whether folds fall."""
    findings = []
    best = [network for network in networks if network in BEST]
    if best:
        far = rows[rows["network"].isin(best) & (rows["lambda"] <= UP_TO)]["dice_difference"].abs().max()
        findings.append(
            f"Dice of {' and '.join(NETWORKS[network] for network in best)} up to λ = {UP_TO} differs from the "
            f"published by at most {far:.3f} ({'within' if far <= NEAR else 'not within'} {NEAR})."
        )
    falling: list[str] = []
    rising: list[str] = []
    for network in networks:
        folds = rows[rows["network"] == network].sort_values("lambda")["folds"]
        (falling if folds.is_monotonic_decreasing else rising).append(NETWORKS[network])
    words = f"From one λ to the next, folds never rise for {', '.join(falling) or 'no network'}"
    findings.append(f"{words}; they do for {', '.join(rising)}." if rising else f"{words}.")
    return findings
