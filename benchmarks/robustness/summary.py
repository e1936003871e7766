"""What kills.py, disks.py and bad_inputs.py counted, as a page.

python benchmarks/robustness/summary.py FOLDER docs/measured/robustness.md

FOLDER has kills.csv, disks.csv and bad_inputs.csv, with what each was made on beside it as .json. Paragraphs that stand
under "In words" of the page that is there are kept.
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from experiments import BAD, one_line

from cohortreg.files import write_text

PARTS = {
    "kills": (
        "Kills, signals, failures",
        "A fresh run, an update or an addition was disturbed at a random moment, and the command was run again.",
        ("scenario", "disturbance"),
    ),
    "disks": (
        "Full disks",
        "A disk of random size filled up during a fresh run; then space was freed, and the command was run again.",
        ("place",),
    ),
    "bad_inputs": ("Bad inputs", "Each was tried in a separate process.", ("room",)),
}
WORDS = "## In words"
NATURE = """\
`as it says` is an input with changed content that its format allows and nothing in it contradicts: a bit of a voxel in
a file without a checksum, another spacing in a header. No reader could tell; for images and displacement fields, ITK
reads the same."""


def page(folder: Path, before: str) -> str:
    """The page. before: what it was, of which the words are kept."""
    parts = ["# Robustness", circumstances(folder), NATURE]
    left: list[str] = []
    for name, (title, what, columns) in PARTS.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            continue
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        parts += [f"## {title}", f"{len(table)} of `benchmarks/robustness/{name}.py`. {what}"]
        parts += [markdown(table, column) for column in columns]
        if name == "kills" and (said := table["traceback_when_disturbed"].ne("").sum()):
            parts.append(f"{said} of the disturbed runs themselves ended in a traceback.")
        if name == "kills" and (killed := table["first_exit"].eq("").sum()):
            parts.append(f"{killed} of the disturbed runs did not end by themselves within three minutes.")
        left += bad(table, columns[0])
    parts += ["## What is left", "\n".join(left) or "None was silent, none a traceback, none lost."]
    words = before.partition(WORDS)[2].strip()
    return "\n\n".join([*parts, *([WORDS, words] if words else [])]) + "\n"


def circumstances(folder: Path) -> str:
    """What it was counted on, a line for each script if they differ."""
    lines = {}
    for name in PARTS:
        path = folder / f"{name}.json"
        if path.is_file():
            made = json.loads(path.read_text("utf-8"))
            versions = ", ".join(f"{package} {version}" for package, version in made["software"].items())
            line = (
                f"commit {made['git_commit'][:12]}, seed {made['seed']}, on {made['hardware']}; {versions}."
            )
            lines.setdefault(line, []).append(f"`{name}.py`")
    return "\n".join(f"{' and '.join(names)}: {line}" for line, names in lines.items())


def markdown(table: pd.DataFrame, column: str) -> str:
    """How many rows had which outcome, by a column."""
    counted = pd.crosstab(table[column], table["outcome"])
    counted = counted[
        [*(each for each in counted if each not in BAD), *(each for each in BAD if each in counted)]
    ]
    counted.loc["all"] = counted.sum()
    head = [column, *counted.columns, "all"]
    rows = [
        [name, *map(str, row), str(sum(row))]
        for name, row in zip(counted.index, counted.to_numpy(), strict=True)
    ]
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ruler, *rows])


def bad(table: pd.DataFrame, column: str) -> list[str]:
    """A line for each kind of bad outcome, worst first, with one example."""
    lines = []
    for outcome in BAD:
        rows = table[table["outcome"] == outcome].copy()
        # Rows that differ in numbers and names alone are of one kind.
        rows["kind"] = rows["said"].str.replace(r"\S*/\S*|'[^']*'|[\d.]+", "…", regex=True).str[:80]
        for (where, _), same in rows.groupby([column, "kind"], sort=False):
            first = same.iloc[0]
            said = first.get("input", "") or _disturbance(first)
            said = one_line(f"{said}: {first['said']}" if first["said"] else said, 200)
            lines.append(
                f"- {outcome}, {where}, {len(same)} of {len(table)}, as number {first['number']}: `{said}`"
            )
    return lines


def _disturbance(row: pd.Series) -> str:
    """What was done to a run, in words."""
    return f"{row['disturbance']} to {row['whom']}" if "whom" in row else f"{row['kilobytes']} kB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    write_text(given.page, page(given.folder, given.page.read_text("utf-8") if given.page.is_file() else ""))
    print(f"{given.page}: the page")


if __name__ == "__main__":
    main()
