"""Dice of unseen subjects after a training from scratch and after one that starts from another cohort's model (`init`).

python benchmarks/init_from.py CONFIG.yaml MODEL FOLDER OUTPUT.csv [--subjects 10 40] [--steps 50 200] [--cores 2]

CONFIG.yaml is a cohort with the model `dual`, such as config/hippocampus.yaml; MODEL the folder of a trained stage of
another cohort with a network for volumes whose first stage has one step at half resolution, as the demo's has,
results/demo/models/icon/stage-1. For each number of subjects, a cohort of its own is made as in
`benchmarks/learning_curve.py`, with two models for each number of training steps: both have MODEL's network and the
settings of the first stage of `dual`, and one of them starts from MODEL's weights. Test subjects are the cohort's.
"""

import argparse
import subprocess
from pathlib import Path

import pandas as pd
import yaml
from learning_curve import SEED, subset

from cohortreg.files import read_json, whole
from cohortreg.provenance import git_commit, hardware


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    dual = config["models"]["dual"]
    network = read_json(arguments.model / "model.json", "a training")["network"]
    models = {
        f"{name}{steps}": dual
        | {"network": network, "stages": [dual["stages"][0] | {"training_steps": steps}]}
        | ({"init": str(arguments.model)} if name == "started" else {})
        for name in ("scratch", "started")
        for steps in arguments.steps
    }
    rows = [f"{name}-1step" for name in models]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    tables = []
    for number in arguments.subjects:
        images = arguments.folder / f"images-{number}.tsv"
        table = pd.read_csv(config["images"], sep="\t", dtype=str)
        subset(table, number).to_csv(images, sep="\t", index=False)
        cohort = f"{config['cohort']}-init-{number}"
        changed = config | {
            "cohort": cohort,
            "images": str(images),
            "models": models,
            "methods": ["identity", *rows],
            "method_settings": {},
            "report": {"reference": "identity"},
        }
        path = arguments.folder / f"{number}.yaml"
        path.write_text(yaml.safe_dump(changed, sort_keys=False))
        command = ["snakemake", "--configfile", str(path), "--cores", str(arguments.cores), "tables"]
        subprocess.run(command, check=True)
        methods = pd.read_csv(Path("results") / cohort / "tables/methods.csv")
        columns = ["method", "pairs", "dice_mean", "dice_mean_low", "dice_mean_high", "folds_percent_mean"]
        tables.append(methods.loc[methods["method"].isin(rows), columns].assign(subjects=number))
        measured = pd.concat(tables).assign(
            seed=SEED, hardware=hardware("cpu", arguments.cores), commit=git_commit()
        )
        with whole(arguments.output) as beside:
            measured.to_csv(beside, index=False)
        print(measured.pivot(index="method", columns="subjects", values="dice_mean").round(3))


if __name__ == "__main__":
    main()
