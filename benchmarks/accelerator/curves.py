"""The curves of parts e and f as figures: Dice by seconds of training, a line for each model, dashed for validation.

python benchmarks/accelerator/curves.py docs/measured/accelerator

Writes e-curve.png and f-curve.png beside the results, of those that are there. Where a stage ends the line has a dot.
"""

import argparse
from pathlib import Path

import records
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cohortreg.files import whole
from cohortreg.report.figures import style

SETS = {"test_dice": ("test", "-"), "validation_dice": ("validation", "--")}


def figure_of(measurements: dict[str, dict]) -> Figure:
    """The curves of a part's measurements, by name."""
    figure, axes = plt.subplots(figsize=(style.PAGE, 3))
    for name, colour in style.colours(list(measurements)).items():
        rows = [row for row in measurements[name]["curve"] if not row["kept"]]
        ends = [row for row, following in zip(rows, [*rows[1:], None], strict=True)
                if following is None or following["stage"] != row["stage"]]  # fmt: skip
        for key, (label, line) in SETS.items():
            if key in rows[0]:
                values = [(row["seconds"], row[key]) for row in rows]
                axes.plot(*zip(*values, strict=True), line, color=colour, label=f"{name}, {label}")
                axes.plot([row["seconds"] for row in ends], [row[key] for row in ends], "o", color=colour)
    axes.set(xscale="log", xlabel="seconds of training", ylabel="Dice")
    axes.legend()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    style.apply()
    for part in "ef":
        measurements = records.read(folder, part).get("measurements", {})
        begun = {name: each for name, each in measurements.items() if each.get("curve")}
        if begun:
            with whole(folder / f"{part}-curve.png") as beside:
                figure_of(begun).savefig(beside)
            print(folder / f"{part}-curve.png")


if __name__ == "__main__":
    main()
