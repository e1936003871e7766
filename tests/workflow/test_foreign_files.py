"""Whatever the configuration says, no file that a user brought is written, moved or deleted."""

import os
import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import hypothesis.strategies as st
import nibabel
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from projects import REPOSITORY, Project

SHAPE = (8, 10, 12)  # such as the default model's resolutions divide
PHANTOM = {"grid": [24, 48, 48], "spacing": [4.6, 2.92, 2.92]}
#: Folders that users might keep raw images in: their own, and those that the project uses as well.
ROOTS = [
    "raw",
    ".",
    "resources",
    "resources/demo",
    "resources/linked",
    "results",
    "results/tiny",
    "results/tiny/images",
    "results/tiny/report",
]
TABLES = [
    "tables",
    ".",
    "config/demo",
    "resources/demo",
    "results/tiny",
    "results/tiny/tables",
    "results/tiny/report",
]
TARGETS = ["check", "all", "results/tiny/images/shards/0.tsv", "results/tiny/phantoms/0.json"]


def write_raw(folder: Path, side: str) -> list[str]:
    """Three images with labels, under the names that the demo and the results would have; rows of their table."""
    rows = ["image_id\tsubject_id\tside\tsplit\timage\tlabel"]
    random = np.random.default_rng(1)
    for number in range(3):
        name = f"s{number}"
        image, label = folder / "images" / f"{name}.nii.gz", folder / "labels" / f"{name}.nii.gz"
        for path, array in (
            (image, random.random(SHAPE)),
            (label, np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)), path)
        # What phantoms leave beside their images, and results beside theirs.
        (folder / "images" / f"{name}.json").write_text("{}")
        rows.append(f"{name}\t{name}\t{side}\ttest\timages/{name}.nii.gz\tlabels/{name}.nii.gz")
    (folder / "notes").mkdir(exist_ok=True)
    (folder / "notes" / "index.html").write_text("mine")
    return rows


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, but for those that Snakemake keeps for itself."""
    files = {}
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".snakemake"]
        for name in names:
            path = Path(place) / name
            files[str(path.relative_to(folder))] = path.read_bytes()
    return files


@st.composite
def drawn(draw):
    """A configuration, and where its files lie."""
    overlay = {"cohort": draw(st.sampled_from(["tiny", "demo"]))}
    phantom = draw(st.sampled_from([None, "left out", PHANTOM, {"labels": "raw/labels"}]))
    if phantom != "left out":
        overlay["phantom"] = phantom
    return {
        "overlay": overlay,
        "root": draw(st.sampled_from(ROOTS)),
        "tables": draw(st.sampled_from(TABLES)),
        "named": draw(st.sampled_from(["file", "command line", "defaults"])),
        "side": draw(st.sampled_from(["", "left"])),
        "ratings": draw(st.booleans()),
        "absolute": draw(st.booleans()),
        "target": draw(st.sampled_from(TARGETS)),
    }


def run(folder: Path, given_: dict) -> CompletedProcess:
    """Lay out a user's files, run the workflow as drawn, and compare them; returns the last run, of all."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    (folder / "elsewhere").mkdir()
    (folder / "resources").mkdir()
    (folder / "resources" / "linked").symlink_to(folder / "elsewhere")
    root = folder / given_["root"]
    rows = write_raw(root, given_["side"])
    tables = folder / given_["tables"]
    tables.mkdir(parents=True, exist_ok=True)
    (tables / "images.tsv").write_text("\n".join(rows) + "\n")
    (tables / "pairs.tsv").write_text("moving\tfixed\ns0\ts1\ns1\ts2\n")
    named = {
        "images": f"{given_['tables']}/images.tsv",
        "pairs": f"{given_['tables']}/pairs.tsv",
        "root": str(root) if given_["absolute"] else given_["root"],
    }
    if given_["ratings"]:
        (tables / "qc.tsv").write_text("moving\tfixed\trating\tnote\ns0\ts1\tbad\thours\n")
        named["ratings"] = f"{given_['tables']}/qc.tsv"
    small = {
        "preprocess": {"grid": list(SHAPE), "mirror": "none"},
        "structures": {"one": [1]},
        "models": {},
        "methods": ["identity"],
        "report": {"reference": "identity"},
        "shards": {"images": 1, "pairs": 1},
    }
    options = []
    if given_["named"] == "command line":
        options = ["--config", *(f"{key}={value}" for key, value in named.items())]
    elif given_["named"] == "defaults":  # edited in place
        path = folder / "config" / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | named))
    else:
        small |= named
    (folder / "tiny.yaml").write_text(yaml.safe_dump(given_["overlay"] | small))
    before = contents(folder)
    for arguments in ([given_["target"]], ["all"]):
        done = Project(folder).snakemake(*arguments, *options)
        after = contents(folder)
        assert {name: after.get(name) for name in before} == before
    return done


@settings(
    max_examples=3,
    derandomize=True,
    print_blob=False,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(drawn())
def test_nothing_that_a_user_brought_is_touched(tmp_path_factory, drawn_):
    done = run(tmp_path_factory.mktemp("foreign"), drawn_)
    assert done.returncode == 0 or re.search("^cohortreg: ", done.stdout, flags=re.MULTILINE), done.stdout


@pytest.mark.parametrize(("target", "named"), [("check", "file"), ("all", "command line")])
def test_real_images_without_a_word_of_phantoms(tmp_path, target, named):
    """The configuration of a newcomer: cohort, images, pairs, root. Raw images were deleted, also by `check`."""
    done = run(
        tmp_path,
        {
            "overlay": {"cohort": "tiny"},
            "root": "raw",
            "tables": "tables",
            "named": named,
            "side": "left",
            "ratings": False,
            "absolute": False,
            "target": target,
        },
    )
    assert done.returncode == 0, done.stdout
