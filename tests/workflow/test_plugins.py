"""What another package offers, one of each kind, in a run of the workflow."""

import html
import json
from dataclasses import replace
from zipfile import ZipFile

import pandas as pd
import yaml
from plugins import installed, newer, run

from cohortreg.layout import Layout

COMMAND = "from cohortreg.cli import main; main()"


def test_a_cohort_is_imported_and_registered_by_what_another_package_offers(project, tmp_path_factory):
    project = replace(project, modules=installed(tmp_path_factory.mktemp("example")))
    # Images and labels beside each other, with the names of the example's importer.
    for image in (project.folder / "raw").glob("*_image.nii.gz"):
        image.rename(image.with_name(image.name.replace("_image", "")))
    given = [project.folder / "raw", "--output", project.folder / "flat", "--ending", "_label"]
    run(project.modules, COMMAND, "import", "flat", *given, "--test-fraction", 0.4, "--pairs", 3)
    path = project.folder / "tiny.yaml"
    configured = yaml.safe_load(path.read_text())
    icon = configured["models"]["icon"]
    icon |= {"network": {"architecture": "dilated", "channels": 2, "layers": 2}, "similarity": "mae"}
    icon["stages"] = [icon["stages"][0] | {"steps": 1, "training_steps": 2}]
    of_icon = ("downsample", "stride", "window")
    stage = {key: value for key, value in icon["stages"][0].items() if key not in of_icon}
    smooth = {"method": "smooth", "settings": {"channels": 2}, "stages": [stage]}
    rows = ["identity", "centre", "fit", "icon-1step", "smooth-one"]
    configured |= {
        "images": "flat/images.tsv",
        "pairs": "flat/pairs.tsv",
        "models": {"icon": icon, "smooth-one": smooth},
        "measures": ["volume_error"],
        "shards": {"images": 1, "pairs": 1},
        "methods": rows,
        "report": {"reference": "identity"},
        "method_settings": {"fit": {"similarity": "mae", "steps": 0.02}},
    }
    path.write_text(yaml.safe_dump(configured))
    first = project.snakemake()
    assert first.returncode == 0, first.stdout
    layout = Layout(project.results)
    table = pd.read_csv(layout.methods_table).set_index("method")
    assert table["similarity"].fillna("").tolist() == ["", "", "MAE", "MAE", "MSE"]
    assert table.index.tolist() == rows and (table["failed"] == 0).all()
    # Each subject is a ball around a centre of its own.
    assert table.loc["centre", "dice_mean"] > table.loc["identity", "dice_mean"]
    card = json.loads(layout.model_card("smooth-one", 1).read_text())
    assert card["settings"] == {"channels": 2} and card["software"]["cohortreg-example"] == "1.0"
    # A measure has what this package's have: columns, a heading, a definition, a caption.
    assert (table["volume_error_mean"] > 0).all() and "volume_error_core_mean" in table
    for page in (layout.methods_markdown, layout.report.index):
        text = html.unescape(page.read_text("utf-8"))
        assert "Volume error" in text and "difference between the volumes" in text, page
    reported = project.snakemake("--report", "report.zip")
    assert reported.returncode == 0, reported.stdout
    with ZipFile(project.folder / "report.zip") as archive:
        pages = b"".join(archive.read(name) for name in archive.namelist() if name.endswith((".html", ".js")))
    assert b"volume_error_mean" in pages and b"difference between the volumes" in pages
    # What follows from the package is made again where its version is another; what its author calls a release is not.
    newer(project.modules)
    again = project.snakemake("--dry-run", "--printshellcmds")
    assert again.returncode == 0, again.stdout
    redone = {row for row in rows if f"register-shard results/tiny --method {row} " in again.stdout}
    assert redone == {"fit", "icon-1step"}
    assert "--model icon " in again.stdout and "--model smooth-one" not in again.stdout
    assert all(f"evaluate results/tiny --method {row} " in again.stdout for row in rows)
    # Without the package, its names are unknown, before any job.
    missing = replace(project, modules=None).snakemake("--dry-run", "--quiet")
    assert (
        missing.returncode == 1
        and "models.icon.network" in missing.stdout
        and "Traceback" not in missing.stdout
    )
