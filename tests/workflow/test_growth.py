"""A cohort that grows or changes: which jobs run, and what the commands in them do."""

import re
import shutil
from collections import Counter

import pandas as pd
import pytest
import yaml
from projects import Project, new_project

from cohortreg.files import read_json
from cohortreg.layout import Layout

GATHER = {"cohort": 1, "tables": 1}
SHOW = {"figures": 1, "report": 1}


@pytest.fixture(scope="module")
def twelve(tmp_path_factory) -> Project:
    """A finished cohort of twelve images, s0 to s11; two methods register the last four in four pairs."""
    project = new_project(tmp_path_factory.mktemp("twelve"), training=8, tested=4)
    two = {"methods": ["identity", "icon-3step"], "report": {"reference": "identity"}}
    change(project, lambda configuration: configuration.update(two))
    run = project.snakemake()
    assert run.returncode == 0, run.stdout
    return project


@pytest.fixture
def grown(twelve, tmp_path) -> Project:
    """A copy of that cohort, for a test to change."""
    shutil.copytree(twelve.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path)


def jobs(project, target: str = "tables", *arguments: str) -> Counter:
    """How many jobs of each rule a run of the workflow up to a target started; register stands for its two rules."""
    run = project.snakemake(target, *arguments)
    assert run.returncode == 0, run.stdout
    names = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):", run.stdout, flags=re.MULTILINE)
    return Counter(name.removesuffix("_networks") for name in names if name != "all")


def records(project) -> dict:
    """When each pair was registered by each method."""
    paths = list(project.results.glob("transforms/*/records/*/*.json"))
    assert paths
    return {path.relative_to(project.results): path.stat().st_mtime_ns for path in paths}


def add(project, table: str, *rows: tuple[str, ...], at: int | None = None) -> None:
    """Insert rows into a table, after that many lines; at its end where None."""
    path = project.folder / "tables" / table
    lines = path.read_text().splitlines()
    at = len(lines) if at is None else at
    lines[at:at] = ["\t".join(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def change(project, edit) -> None:
    path = project.folder / "tiny.yaml"
    configuration = yaml.safe_load(path.read_text())
    edit(configuration)
    path.write_text(yaml.safe_dump(configuration))


@pytest.mark.parametrize("at", [None, 3])
def test_an_image_and_five_pairs_appended_or_inserted(grown, at):
    """Only that image is preprocessed, only those pairs are registered, each by every method."""
    before, images = (
        records(grown),
        {path: path.stat().st_mtime_ns for path in grown.results.glob("images/*.*")},
    )
    pairs = [("s12", "s8"), ("s12", "s9"), ("s10", "s12"), ("s11", "s12"), ("s8", "s10")]
    add(grown, "images.tsv", ("s12", "s12", "left", "test", "s0_image.nii.gz", "s0_label.nii.gz"), at=at)
    add(grown, "pairs.tsv", *pairs, at=at and 2)
    ran = jobs(grown, "all" if at is None else "tables")
    assert ran["train"] == ran["pack"] == 0 and ran["preprocess"] == 1
    assert all(ran[rule] == 1 for rule in (GATHER | SHOW if at is None else GATHER))
    after = records(grown)
    assert {path: after[path] for path in before} == before
    new = Counter(f"{path.parent.name} {path.stem}" for path in set(after) - set(before))
    assert new == Counter({f"{moving} {fixed}": 2 for moving, fixed in pairs})
    for path, written in images.items():
        assert path.stat().st_mtime_ns == written, path


def test_a_shard_without_a_new_pair_starts_no_job(grown):
    """The tiny cohort's pairs lie in one of two shards; the new one falls into the other."""
    add(grown, "pairs.tsv", ("s8", "s10"))
    ran = jobs(grown)
    assert ran == Counter(GATHER | {"register": 2, "evaluate": 2})


def test_tables_in_another_order(grown):
    for table in ("images.tsv", "pairs.tsv"):
        path = grown.folder / "tables" / table
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *rows[::-1]]) + "\n")
    assert jobs(grown) == Counter(GATHER)
    assert not read_json(Layout(grown.results).cohort)["warnings"]


def test_a_pair_removed(grown):
    path = grown.folder / "tables" / "pairs.tsv"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert jobs(grown) == Counter(GATHER)
    assert len(Layout(grown.results).pairs_table.read_text().splitlines()) == 1 + 2 * 3
    # A row that is added later does not have it.
    change(grown, lambda configuration: configuration["methods"].append("icon-2step"))
    assert jobs(grown) == Counter({"register": 1, "evaluate": 1, "tables": 1})
    assert len([path for path in records(grown) if path.parts[1] == "icon-2step"]) == 3
    # The pair comes back: every row looks, and only the new one has something to register.
    before = records(grown)
    path.write_text(whole)
    ran = jobs(grown)
    assert ran == Counter(GATHER | {"register": 3, "evaluate": 3})
    after = records(grown)
    assert {path: after[path] for path in before} == before
    assert [path.parts[1] for path in set(after) - set(before)] == ["icon-2step"]


def test_an_image_removed_with_its_pairs(grown):
    for table in ("images.tsv", "pairs.tsv"):
        path = grown.folder / "tables" / table
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "s11" not in line.split()))
    images = {path: path.stat().st_mtime_ns for path in grown.results.glob("images/*.*")}
    assert jobs(grown) == Counter(GATHER)
    assert {path: path.stat().st_mtime_ns for path in images} == images
    assert len(Layout(grown.results).pairs_table.read_text().splitlines()) == 1 + 2 * 2
    assert "s11" not in Layout(grown.results).images.read_text()


def test_a_raw_test_image_replaced(grown):
    """Its two pairs are registered again by both methods, the other two are not. The new file is an old one."""
    before = records(grown)
    shutil.copy2(grown.folder / "raw" / "s0_image.nii.gz", grown.folder / "raw" / "s8_image.nii.gz")
    ran = jobs(grown)
    assert ran["train"] == ran["pack"] == 0 and ran["preprocess"] == 1
    after = records(grown)
    again = {f"{path.parent.name} {path.stem}" for path in after if after[path] != before[path]}
    assert again == {"s8 s9", "s11 s8"}


def test_a_raw_training_image_replaced(grown):
    """No model is trained again unless that is asked for."""
    layout = Layout(grown.results)
    trained_on = read_json(layout.model_card("icon", 2))["training_set"]
    shutil.copy2(grown.folder / "raw" / "s1_image.nii.gz", grown.folder / "raw" / "s0_image.nii.gz")
    assert jobs(grown) == Counter({"preprocess": 1, "cohort": 1})
    assert "earlier set of 8 images, some of them are others now" in read_json(layout.cohort)["warnings"][0]
    ran = jobs(grown, "tables", "--config", "retrain=scratch")
    assert ran == Counter(GATHER | {"pack": 1, "train": 2, "register": 1, "evaluate": 1})
    assert {read_json(layout.model_card("icon", stage))["training_set"] for stage in (1, 2)} != {trained_on}
    assert not read_json(layout.cohort)["warnings"]


def test_a_training_image_added_and_models_trained_again_when_asked(grown):
    layout = Layout(grown.results)
    cards = [read_json(layout.model_card("icon", stage)) for stage in (1, 2)]
    add(grown, "images.tsv", ("s12", "s12", "left", "train", "s0_image.nii.gz", "s0_label.nii.gz"))
    assert jobs(grown, "all") == Counter(SHOW | {"preprocess": 1, "cohort": 1})
    assert "earlier set of 8 images, now there are 9" in layout.report.index.read_text("utf-8")
    assert jobs(grown, "all") == Counter()
    ran = jobs(grown, "tables", "--config", "retrain=last")
    assert ran == Counter(GATHER | {"pack": 1, "train": 2, "register": 1, "evaluate": 1})
    for stage, card in zip((1, 2), cards, strict=True):
        new = read_json(layout.model_card("icon", stage))
        assert (card["images"], new["images"]) == (8, 9)
        assert card["start"] is None and new["start"]
    assert not read_json(layout.cohort)["warnings"]
    # The key is gone again: the cohort is gathered anew, and nothing follows.
    assert jobs(grown) == Counter({"cohort": 1})
    assert jobs(grown) == Counter()


def test_a_method_added(grown):
    change(grown, lambda configuration: configuration["methods"].append("icon-2step"))
    ran = jobs(grown)
    assert ran == Counter({"register": 1, "evaluate": 1, "tables": 1})


NEWER = """
from dataclasses import replace
from cohortreg.methods.registry import LEARNED
LEARNED["icon"] = replace(LEARNED["icon"], release="icon-newer")
"""


def test_a_newer_package_registers_a_row_otherwise(grown, tmp_path):
    """The row is registered again, and no other; with the same package nothing is."""
    before = records(grown)
    assert jobs(grown, "tables", "-n") == Counter()
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "sitecustomize.py").write_text(NEWER)
    newer = Project(grown.folder, modules=tmp_path / "modules")
    ran = jobs(newer)
    shards = len(list(grown.results.glob("pairs/*.tsv")))
    assert ran == Counter({"register": shards, "evaluate": shards, "tables": 1})
    after = records(newer)
    assert {path.parts[1] for path in after if after[path] != before[path]} == {"icon-3step"}
    assert jobs(newer, "tables", "-n") == Counter()


def test_a_parameter_of_the_second_stage_changed(grown):
    change(grown, lambda configuration: configuration["models"]["icon"]["stages"][1].update(training_steps=7))
    ran = jobs(grown)
    assert ran == Counter({"train": 1, "register": 1, "evaluate": 1, "tables": 1})


def test_images_preprocessed_in_another_way(grown):
    """Models are trained again from scratch, of images as they are now."""
    change(grown, lambda configuration: configuration["preprocess"].update(grid=[12, 16, 16]))
    ran = jobs(grown)
    assert ran == Counter(GATHER | {"preprocess": 3, "pack": 1, "train": 2, "register": 2, "evaluate": 2})
    pairs = pd.read_csv(Layout(grown.results).pairs_table, keep_default_na=False)
    assert (pairs["failure"] == "").all()


def test_labels_in_another_way(grown):
    """Nothing is trained again: images are the same."""
    change(grown, lambda configuration: configuration["structures"].pop("core"))
    ran = jobs(grown)
    assert ran["preprocess"] == 3 and ran["train"] == ran["pack"] == 0
    assert not read_json(Layout(grown.results).cohort)["warnings"]


def test_another_logger_trains_nothing_again(grown):
    change(grown, lambda configuration: configuration["training"].update(logger="csv"))
    assert jobs(grown, "all") == Counter(report=1)


def test_stages_joined_to_one(grown):
    """The row of three steps is the new stage, not the one of before, which is still there."""
    layout = Layout(grown.results)

    def join(configuration):
        first, _ = configuration["models"]["icon"]["stages"]
        configuration["models"]["icon"]["stages"] = [first | {"steps": 3}]

    change(grown, join)
    before = records(grown)
    assert jobs(grown)["train"] == 1
    after = records(grown)
    again = {path.parts[1] for path in after if after[path] != before[path]}
    assert again == {"icon-3step"}
    assert layout.weights("icon", 2).is_file()


def test_pairs_rated_bad_leave_the_tables_and_come_back_without_registering(grown):
    layout, before = Layout(grown.results), records(grown)
    everything = pd.read_csv(layout.pairs_table)
    pair = everything.loc[0, ["moving", "fixed"]].tolist()
    rows = ["moving\tfixed\trating\tnote", "\t".join([*pair, "bad", "upside down"]), "s0\ts1\tbad\t"]
    (grown.folder / "qc.tsv").write_text("\n".join(rows) + "\n")
    rated = ("--config", "ratings=qc.tsv", "exclude_rated=bad")
    assert jobs(grown, "all", *rated) == Counter(GATHER | SHOW)
    left = pd.read_csv(layout.pairs_table)
    assert len(left) == len(everything) - everything["method"].nunique()
    assert pair not in left[["moving", "fixed"]].values.tolist()
    text = layout.report.index.read_text("utf-8")
    assert "rated bad: upside down" in text
    assert "qc.tsv rates 1 pair that the cohort does not have (s0 s1)" in text
    assert jobs(grown, "all", *rated) == Counter()
    came_back = jobs(grown)
    assert not {"pack", "train", "preprocess"} & set(came_back)
    pd.testing.assert_frame_equal(pd.read_csv(layout.pairs_table), everything)
    assert records(grown) == before


def test_a_wrong_table_of_ratings_ends_before_anything_runs(grown):
    (grown.folder / "qc.tsv").write_text("moving\tfixed\trating\ns8\ts9\tawful\n")
    run = grown.snakemake("--dry-run", "--config", "ratings=qc.tsv")
    assert run.returncode == 1
    assert re.search(r"^cohortreg: qc\.tsv, row 2, column rating: 'awful'", run.stdout, flags=re.MULTILINE)
