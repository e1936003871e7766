import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from forkserver import command
from series import packed, volume, write_series

from cohortreg.images.io import Image, read_image, read_label, write_image

SETTINGS = json.dumps(
    {
        "preprocess": {"grid": [8, 16, 16], "fit": "resample", "mirror": "left", "percentiles": [1, 99]},
        "structures": {"femur": [1], "tibia": [3]},
    }
)
MERGING = json.dumps({"shards": {"images": 2, "pairs": 1}, "models": [], "retrain": None})


def cohortreg(*arguments, code=0) -> subprocess.CompletedProcess:
    """Run the command line as a user does; a traceback fails whatever the exit code."""
    done = command(*arguments)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A cohort of four phantoms, one of them damaged, from tables to what is left of it."""
    folder = tmp_path_factory.mktemp("demo")
    tables, raw, results = folder / "tables", folder / "raw", folder / "results" / "tiny"
    imported = cohortreg(
        "import", "phantom", "--output", tables, "--subjects", 6, "--test", 4, "--pairs", 6, "--seed", 3
    )
    grid = json.dumps({"grid": [16, 32, 32], "spacing": [6.9, 4.4, 4.4]})
    cohortreg("phantom", tables / "images.tsv", raw, "--settings", grid, "--seed", 3)
    (raw / "images" / "demo-002-left.nii.gz").write_bytes(b"")
    shards = [
        cohortreg("preprocess", results, "--images", tables / "images.tsv", "--root", raw,
                  "--settings", SETTINGS, "--shard", shard, "--shards", 2)
        for shard in range(2)
    ]  # fmt: skip
    merged = cohortreg("cohort", results, "--name", "tiny", "--images", tables / "images.tsv",
                       "--pairs", tables / "pairs.tsv", "--settings", MERGING)  # fmt: skip
    return {"tables": tables, "raw": raw, "results": results, "imported": imported, "shards": shards,
            "merged": merged}  # fmt: skip


def test_import_says_what_it_wrote(demo):
    assert "6 images (2 train, 4 test), 6 pairs" in demo["imported"].stdout


def test_a_published_list_says_what_it_left_out_and_what_is_missing(oai_splits, tmp_path):
    listed = oai_splits / "test_pair_path_list.txt"
    done = cohortreg("import", "oai-split", listed, "--root", tmp_path, "--output", tmp_path)
    assert "169 images (0 train, 169 test), 296 pairs" in done.stdout
    assert "stand again: 4; images paired with themselves: 1; they are left out" in done.stdout
    assert (
        "169 images and 169 labels (9357383_20040927_SAG_3D_DESS_LEFT_016610250606_image.nii.gz, "
        in done.stdout
    )
    assert len((tmp_path / "missing.tsv").read_text().splitlines()) == 1 + 2 * 169
    kept = cohortreg(
        "import", "oai-split", listed, "--root", tmp_path, "--output", tmp_path / "all", "--as-published"
    )
    assert "301 pairs" in kept.stdout and "set published" in kept.stdout
    # A table without a column for sets keeps its pairs, and the rows of a set are not made pairs of the main one.
    again = cohortreg(
        "import", "oai-split", listed, "--root", tmp_path, "--output", tmp_path, "--as-published"
    )
    assert "0 images added, 169 kept; 0 pairs added, 296 kept" in again.stdout
    assert "5 pairs of set published not added" in again.stdout
    refused = cohortreg(
        "import", "oai-split", listed, "--output", tmp_path, "--root", tmp_path / "none", code=1
    )
    assert "none does not exist" in refused.stderr


def test_a_folder_in_bids_layout(tmp_path):
    for subject in ("sub-01", "sub-02"):
        (tmp_path / subject / "anat").mkdir(parents=True)
        (tmp_path / subject / "anat" / f"{subject}_T1w.nii.gz").touch()
    chosen = ("--test-fraction", 1, "--pairs", 1)
    done = cohortreg("import", "bids", tmp_path, "--output", tmp_path / "tables", *chosen)
    assert "2 images (0 train, 2 test), 1 pair\n" in done.stdout


def test_from_tables_to_a_cohort(demo):
    summary = json.loads((demo["results"] / "cohort.json").read_text())
    assert (summary["images"], summary["excluded_images"]) == (5, 1)
    image = read_image(demo["results"] / "images" / "demo-001-right.nii.gz")
    assert image.shape == (8, 16, 16) and image.array.max() <= 1


def test_bad_image_is_one_line_of_the_log(demo):
    log = "".join(shard.stderr for shard in demo["shards"])
    (line,) = [line for line in log.splitlines() if line.startswith("excluded")]
    assert "demo-002-left" in line and str(demo["raw"] / "images" / "demo-002-left.nii.gz") in line
    assert "1 image and" in demo["merged"].stdout


def test_fail_ends_with_one_sentence_and_code_1(demo, tmp_path):
    done = cohortreg("preprocess", tmp_path / "results", "--images", demo["tables"] / "images.tsv",
                     "--root", demo["raw"], "--settings", SETTINGS, "--on-bad-image", "fail", code=1)  # fmt: skip
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("cohortreg:")]
    assert "demo-002-left" in line and "row 3" in line
    assert not (tmp_path / "results" / "images" / "shards" / "0.tsv").exists()


@pytest.mark.parametrize(
    "settings", ["{", "[]", '{"preprocess": {}}', '{"preprocess": {"size": 3}, "structures": {}}']
)
def test_bad_settings(demo, tmp_path, settings):
    done = cohortreg("preprocess", tmp_path, "--images", demo["tables"] / "images.tsv", "--root", demo["raw"],
                     "--settings", settings, code=1)  # fmt: skip
    assert "--settings" in done.stderr.splitlines()[-1]


def test_two_steps_of_a_phantom_singly(tmp_path):
    label, scan = tmp_path / "label.nii.gz", tmp_path / "scan.nii.gz"
    cohortreg("phantom-anatomy", label, "--id", "anna", "--side", "left", "--grid", 16, 32, 32,
              "--spacing", 6.9, 4.4, 4.4)  # fmt: skip
    cohortreg("phantom-image", label, scan, "--seed", 2)
    assert set(np.unique(read_label(label).array)) >= {0, 1, 3}
    np.testing.assert_allclose(read_image(scan).affine, read_label(label).affine)


def test_import_msd(hippocampus, tmp_path):
    done = cohortreg("import", "msd", hippocampus, "--output", tmp_path, "--seed", 1)
    assert "200 images (160 train, 40 test), 100 pairs" in done.stdout
    done = cohortreg("import", "msd", tmp_path, "--output", tmp_path / "again", code=1)
    assert done.stderr.startswith("cohortreg: ") and "dataset.json does not exist" in done.stderr
    assert not (tmp_path / "again").exists()


def test_a_second_import_says_what_it_added_and_kept(tmp_path):
    def dataset(count: int) -> None:
        entries = [{"image": f"imagesTr/h_{n}.nii.gz"} for n in range(count)]
        (tmp_path / "dataset.json").write_text(json.dumps({"training": entries}))
        (tmp_path / "imagesTr").mkdir(exist_ok=True)
        for entry in entries:
            (tmp_path / entry["image"]).touch()

    arguments = ("import", "msd", tmp_path, "--output", tmp_path / "tables", "--pairs", 5)
    dataset(20)
    done = cohortreg(*arguments)
    assert "20 images (16 train, 4 test), 5 pairs" in done.stdout and "kept;" not in done.stdout
    before = {path: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    dataset(23)
    done = cohortreg(*arguments)
    assert "3 images added, 20 kept; 0 pairs added, 5 kept" in done.stdout
    assert all(path.read_bytes().startswith(content) for path, content in before.items())
    (tmp_path / "imagesTr/h_0.nii.gz").unlink()
    done = cohortreg(*arguments[:-1], 6)
    assert "0 images added, 23 kept" in done.stdout
    assert "Left out: 1 image (imagesTr/h_0.nii.gz)" in done.stdout
    assert "Not below" in done.stdout and "1 file that images.tsv names" in done.stdout
    assert "5 pairs, not 6: " in done.stdout and "move pairs.tsv elsewhere" in done.stdout


def test_a_table_that_cannot_be_read_is_kept(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"training": ["a.nii.gz", "b.nii.gz"]}))
    table = tmp_path / "images.tsv"
    table.write_bytes("image_id\n".encode("utf-16"))
    done = cohortreg(
        "import", "msd", tmp_path, "--output", tmp_path, "--pairs", 1, "--test-fraction", 1, code=1
    )
    assert len(done.stderr.splitlines()) == 1 and "images.tsv is not UTF-8 text" in done.stderr
    assert table.read_bytes() == "image_id\n".encode("utf-16") and not (tmp_path / "pairs.tsv").exists()


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_weights_are_not_imported_over_a_model(tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_text("mine")
    (tmp_path / "weights.pt").touch()
    done = cohortreg("import", "weights", tmp_path / "weights.pt", "--output", tmp_path / "model", code=1)
    assert "already contains a model" in done.stderr and (tmp_path / "model" / name).read_text() == "mine"


def test_import_oai_and_preprocess(tmp_path):
    archive, tables = tmp_path / "archive", tmp_path / "tables"
    for n in range(4):
        tags = {"0010|0020": f"900000{n}", "0008|0020": "20041108", "0008|103e": "SAG_3D_DESS_RIGHT"}
        folder = write_series(archive / f"900000{n}" / "20041108" / f"1058370{n}", volume(seed=n), **tags)
        packed(folder)
        shutil.rmtree(folder)
    last = archive / "9000003" / "20041108" / "10583703.tar.gz"
    last.write_bytes(last.read_bytes()[:-100])
    done = cohortreg("import", "oai", archive, "--output", tables, "--test-fraction", 0.7)
    assert "3 images (1 train, 2 test), 1 pair\n" in done.stdout
    assert "0 of 3 images have a label; 1 image and 0 labels left out" in done.stdout
    (kind, path, reason) = (tables / "left-out.tsv").read_text().splitlines()[1].split("\t")
    assert (kind, path) == ("image", "9000003/20041108/10583703.tar.gz") and "cut short" in reason
    cohortreg("preprocess", tmp_path / "results", "--images", tables / "images.tsv", "--root", archive,
              "--settings", SETTINGS)  # fmt: skip
    assert read_image(tmp_path / "results" / "images" / "9000001_20041108_right.nii.gz").shape == (8, 16, 16)


def test_cohort_without_preprocessing(demo, tmp_path):
    done = cohortreg("cohort", tmp_path, "--name", "tiny", "--images", demo["tables"] / "images.tsv",
                     "--pairs", demo["tables"] / "pairs.tsv", code=1)  # fmt: skip
    assert "run `cohortreg preprocess` for shard 0 first" in done.stderr


def test_repository_s_hippocampus_tables_are_what_the_import_makes(hippocampus, tmp_path, request):
    cohortreg("import", "msd", hippocampus, "--output", tmp_path, "--seed", 1)
    for name in ("images.tsv", "pairs.tsv"):
        there = request.config.rootpath / "config" / "hippocampus" / name
        assert (tmp_path / name).read_text() == there.read_text()


def test_check_stops_a_script_at_a_bad_image_and_leaves_its_table(demo, tmp_path):
    arguments = ("check", demo["tables"] / "images.tsv", "--root", demo["raw"], "--output", tmp_path / "check",
                 "--settings", SETTINGS)  # fmt: skip
    done = cohortreg(*arguments, code=1)
    assert "6 images: 5 ok, 0 with warnings, 1 bad" in done.stdout
    assert "note: sides were not compared" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("cohortreg: 1 of 6 images cannot be used")
    header, *rows = (tmp_path / "check" / "check.tsv").read_text().splitlines()
    assert {"femur_mm3", "tibia_mm3"} < set(header.split("\t")) and len(rows) == 6
    assert (tmp_path / "check" / "contact-sheet.png").stat().st_size > 0
    cohortreg(*arguments, "--on-bad-image", "exclude")


def test_check_needs_no_settings(demo, tmp_path):
    cohortreg("check", demo["tables"] / "images.tsv", "--root", demo["raw"], "--output", tmp_path, code=1)
    assert (tmp_path / "check.tsv").read_text().count("\tok\t") == 5


def test_from_a_folder_to_a_dry_run(tmp_path, monkeypatch):
    """As docs/own-cohort.md and config/README.md write it; what init writes is run unedited."""
    monkeypatch.chdir(tmp_path)
    for number in range(14):
        for folder in ("images", "labels"):
            image = Image(np.random.default_rng(number).integers(0, 3, (20, 24, 22), np.uint8), np.eye(4))
            write_image(tmp_path / "study" / folder / f"{number}.nii.gz", image)
    done = cohortreg("init", "study", "--output", "config/mine.yaml")
    assert "config/mine: 14 images (11 train, 3 test), 3 pairs" in done.stdout
    assert "3 pairs, not 100: 3 test images make no more" in done.stdout
    assert done.stdout.endswith("then: cohortreg run config/mine.yaml\n")
    assert "already exists" in cohortreg("init", "study", "--output", "config/mine.yaml", code=1).stderr
    more = next(line for line in Path("config/mine.yaml").read_text().splitlines() if "import" in line)
    said = cohortreg(*shlex.split(more.removeprefix("#   cohortreg "))).stdout
    assert "0 images added, 14 kept; 0 pairs added, 3 kept" in said
    dry = cohortreg("run", "config/mine.yaml", "-n", "--quiet", "rules")
    assert "register_networks" in dry.stdout + dry.stderr and not (tmp_path / "results").exists()
    patterns = ("study/images/*.nii.gz", "--labels", "study/labels/*.nii.gz", "--output", "config/tables")
    done = cohortreg("import", "folder", *patterns, "--test-fraction", 0.5)
    assert "14 images (7 train, 7 test), 21 pairs" in done.stdout
    assert (
        "0 images added, 14 kept; 0 pairs added, 21 kept" in cohortreg("import", "folder", *patterns).stdout
    )
