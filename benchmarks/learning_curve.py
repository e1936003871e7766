"""Dice of unseen subjects by the number of training subjects: the paper's U-Net and dual_stream, alone and with fit.

python benchmarks/learning_curve.py CONFIG.yaml FOLDER OUTPUT.csv [--subjects 10 20 40 80 160] [--steps 1] [--cores 2]

CONFIG.yaml is a cohort with the models `icon` and `dual`, such as config/hippocampus.yaml. For each number, a cohort of
its own is made in FOLDER from the first so many of its training subjects in a random order (each larger set holds the
smaller ones) and its test subjects, and run by the workflow: the first stage of each model, at half resolution, whose
training steps are multiplied by --steps, the same for every number of subjects. What is there is not run again. Beside
the table a figure of the same name is drawn.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib import pyplot as plt

from cohortreg.files import whole
from cohortreg.provenance import git_commit, hardware
from cohortreg.report.figures import style

MODELS = ("icon", "dual")
SEED = 1


def subset(images: pd.DataFrame, number: int) -> pd.DataFrame:
    """The test images, and those of so many training subjects."""
    training = images["split"] == "train"
    subjects = np.random.default_rng(SEED).permutation(images.loc[training, "subject_id"].unique())
    if number > len(subjects):
        sys.exit(
            f"{number} training subjects were asked for, and there are {len(subjects)}; leave it out of --subjects"
        )
    return images[~training | images["subject_id"].isin(subjects[:number])]


def write_cohort(
    config: dict, number: int, steps: float, folder: Path, untrained: list[str]
) -> tuple[Path, list[str]]:
    """A configuration of the cohort with so many training subjects, and its rows, which end with the untrained ones."""
    models, rows = {}, ["identity"]
    for name in MODELS:
        model = config["models"][name]
        stage = model["stages"][0]
        stage = stage | {"training_steps": max(round(steps * stage["training_steps"]), 1)}
        models[name] = {key: value for key, value in model.items() if key != "optimisation"} | {
            "stages": [stage]
        }
        rows += [f"{name}-{stage['steps']}step", f"{name}-{stage['steps']}step-fit"]
    rows += untrained
    images = folder / f"images-{number}.tsv"
    subset(pd.read_csv(config["images"], sep="\t", dtype=str), number).to_csv(images, sep="\t", index=False)
    changed = config | {
        "cohort": f"{config['cohort']}-{number}",
        "images": str(images),
        "models": models,
        "methods": rows,
        "method_settings": {},
        "report": {"reference": rows[-1]},
    }
    path = folder / f"{number}.yaml"
    path.write_text(yaml.safe_dump(changed, sort_keys=False))
    return path, rows


def draw(dice: pd.DataFrame, path: Path) -> None:
    """Dice of each row by the number of training subjects; of a row that needs none, a line across."""
    style.apply()
    figure, axes = plt.subplots(figsize=(style.COLUMN, 2.6))
    models = style.colours(
        sorted({str(row).removesuffix("-fit") for row in dice.index} - {"identity", "fit"})
    )
    for row, values in dice.iterrows():
        values, name = 100 * values.dropna(), str(row)
        if name in {"identity", "fit"}:
            axes.axhline(
                values.iloc[0], color=style.MUTED, linestyle=":" if name == "fit" else "-", label=name
            )
            continue
        colour = models[name.removesuffix("-fit")]
        axes.plot(
            values, marker="o", linestyle="--" if name.endswith("-fit") else "-", color=colour, label=name
        )
    axes.set(xscale="log", xlabel="Training subjects", ylabel="Dice of unseen subjects [%]")
    axes.set_xticks(list(dice.columns), [str(number) for number in dice.columns], minor=False)
    axes.minorticks_off()
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.3), fontsize="small")
    with whole(path) as beside:
        figure.savefig(beside, format="png", dpi=200)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=[10, 20, 40, 80, 160])
    parser.add_argument("--steps", type=float, default=1)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text())
    given.folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for number in given.subjects:
        # Fit learns from no image: once is enough.
        untrained = ["fit"] if number == min(given.subjects) else []
        path, rows = write_cohort(config, number, given.steps, given.folder, untrained)
        subprocess.run(
            ["snakemake", "--configfile", str(path), "--cores", str(given.cores), "tables"], check=True
        )
        methods = pd.read_csv(Path("results") / f"{config['cohort']}-{number}" / "tables/methods.csv")
        columns = ["method", "pairs", "dice_mean", "dice_mean_low", "dice_mean_high", "folds_percent_mean"]
        tables.append(methods.loc[methods["method"].isin(rows), columns].assign(subjects=number))
        table = pd.concat(tables).assign(
            steps=given.steps, seed=SEED, hardware=hardware("cpu", given.cores), commit=git_commit()
        )
        with whole(given.output) as beside:
            table.to_csv(beside, index=False)
        dice = table.pivot(index="method", columns="subjects", values="dice_mean")
        print(dice.round(3))
        draw(dice, given.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
