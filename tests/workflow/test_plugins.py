"""A method, a similarity and a network of another package in a run of the workflow."""

from dataclasses import replace

import pandas as pd
import yaml
from plugins import installed

from cohortreg.layout import Layout


def test_a_cohort_is_registered_by_what_another_package_offers(project, tmp_path_factory):
    project = replace(project, modules=installed(tmp_path_factory.mktemp("example")))
    path = project.folder / "tiny.yaml"
    configured = yaml.safe_load(path.read_text())
    icon = configured["models"]["icon"]
    icon |= {"network": {"architecture": "dilated", "channels": 2, "layers": 2}, "similarity": "mae"}
    icon["stages"] = [icon["stages"][0] | {"steps": 1, "training_steps": 2}]
    configured |= {
        "methods": ["identity", "centre", "fit", "icon-1step"],
        "report": {"reference": "identity"},
    }
    configured["method_settings"] = {"fit": {"similarity": "mae", "steps": 0.02}}
    path.write_text(yaml.safe_dump(configured))
    run = project.snakemake()
    assert run.returncode == 0, run.stdout
    layout = Layout(project.results)
    table = pd.read_csv(layout.methods_table).set_index("method")
    assert table["similarity"].fillna("").to_dict() == {
        "identity": "",
        "centre": "",
        "fit": "MAE",
        "icon-1step": "MAE",
    }
    assert (table["failed"] == 0).all()
    # Each subject is a ball around a centre of its own.
    assert table.loc["centre", "dice_mean"] > table.loc["identity", "dice_mean"]
    # Without the package, its names are unknown, before any job.
    run = replace(project, modules=None).snakemake("--dry-run", "--quiet")
    assert run.returncode == 1 and "models.icon.network" in run.stdout and "Traceback" not in run.stdout
