"""One comparison whose rows were measured in several runs of its configuration: their tables as one.

python benchmarks/join_rows.py config/hippocampus.yaml OUTPUT TABLES...

TABLES: folders with a run's pairs.csv and methods.csv, of the same pairs; the first that has a row counts. OUTPUT, a
folder that may be one of them, gets both, methods.md, methods.tex and the figures of the comparison. Rows that none has
are left out, and named. methods.csv says the commit that each row was measured at: the present one, if it is new.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from cohortreg import config as configuration
from cohortreg.evaluation.csv_files import TEXT, read_table, write_table
from cohortreg.evaluation.sets import main_set
from cohortreg.evaluation.summaries import summarise
from cohortreg.files import write_text
from cohortreg.provenance import git_commit
from cohortreg.report.figures import charts, style, tradeoffs
from cohortreg.report.table2 import MethodsTable


def read_rows(folders: list[Path], wanted: list[str]) -> tuple[dict[str, pd.DataFrame], dict[str, dict]]:
    """Of each wanted row that a folder has, its pairs and what its run says of it."""
    pairs, said = {}, {}
    for folder in folders:
        table = main_set(read_table(folder / "pairs.csv")).drop(columns="set", errors="ignore")
        summary = read_table(folder / "methods.csv", texts=TEXT | {"git_commit": str})
        if "git_commit" not in summary:
            summary["git_commit"] = git_commit()
        for row in summary.to_dict("records"):
            if row["method"] in wanted and row["method"] not in pairs:
                pairs[row["method"]] = table[table["method"] == row["method"]]
                said[row["method"]] = row
    return pairs, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("tables", type=Path, nargs="+")
    given = parser.parse_args()
    config = configuration.load(given.configuration)
    pairs, said = read_rows(given.tables, config.methods)
    rows = [row for row in config.methods if row in pairs]
    asked = {row: set(zip(pairs[row]["moving"], pairs[row]["fixed"], strict=True)) for row in rows}
    if different := [row for row in rows if asked[row] != asked[rows[0]]]:
        sys.exit(f"{', '.join(different)}: not of the same pairs as {rows[0]}")
    if missing := [row for row in config.methods if row not in pairs]:
        print(f"left out: {', '.join(missing)}")
    reference = config.report.reference
    if reference not in rows:
        reference = rows[-1]
        print(f"tested against {reference}, since {config.report.reference} is left out")

    joined = pd.concat([pairs[row] for row in rows], ignore_index=True)
    models = config.models
    # As measured: a row's default may be another one by now.
    similarities = {row: said[row]["similarity"] for row in rows}
    summary = summarise(joined, similarities, reference, config.seed)
    for column in ("hardware", "git_commit"):
        summary[column] = [said[row][column] for row in rows]
    given.output.mkdir(exist_ok=True)
    write_table(given.output / "pairs.csv", joined)
    write_table(given.output / "methods.csv", summary)
    table = MethodsTable(summary, models, reference)
    write_text(given.output / "methods.md", table.markdown())
    write_text(given.output / "methods.tex", table.latex())
    style.apply()
    comparison = SimpleNamespace(methods=summary, main_pairs=joined, structures=config.structures)
    figures = {
        "dice": charts.draw_dice(comparison),
        "dice-folds": tradeoffs.draw_dice_against_folds(comparison),
        "dice-time": tradeoffs.draw_dice_against_time(comparison),
    }
    for name, figure in figures.items():
        figure.savefig(given.output / f"{name}.png")
    print((given.output / "methods.md").read_text())


if __name__ == "__main__":
    main()
