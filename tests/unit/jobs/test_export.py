import re

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from earlier import write_before
from forkserver import command

from cohortreg.cohort.tables import read_images, write_table
from cohortreg.config import Preprocess
from cohortreg.errors import UserError
from cohortreg.files import read_json, write_json
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.jobs.export import BidsNames, Export, bids_label
from cohortreg.jobs.preprocess import preprocess_shard
from cohortreg.layout import Layout
from cohortreg.maps.coded import read_coded, write_coded
from cohortreg.maps.transforms import Transform

SHAPE = (6, 7, 8)
AFFINE = np.diag([2.0, 1, 1, 1])
IDS = ("sub-01_T1w", "sub-02_T1w", "sub-02_run-2_T1w")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """The layout of three images of two subjects, the last without a label, registered by a shift of one voxel."""
    monkeypatch.chdir(tmp_path)
    raw, layout, random = tmp_path / "raw", Layout(tmp_path / "results" / "brains"), np.random.default_rng(1)
    rows = []
    for image_id in IDS:
        label = "" if image_id == IDS[2] else f"{image_id}_label.nii.gz"
        write_image(raw / f"{image_id}.nii.gz", Image(random.random(SHAPE, np.float32), AFFINE))
        if label:
            write_image(raw / label, Image(random.integers(0, 3, SHAPE).astype(np.uint8), AFFINE))
        rows.append([image_id, image_id[:6], "", "test", f"{image_id}.nii.gz", label])
    columns = ["image_id", "subject_id", "side", "split", "image", "label"]
    write_table(layout.images, pd.DataFrame(rows, columns=columns))
    preprocess_shard(
        layout,
        read_images(layout.images),
        raw,
        Preprocess(grid=list(SHAPE), fit="pad", mirror="left"),
        {"core": [1]},
    )
    write_json(layout.settings("preprocess", "0"), {"root": "raw"})
    pairs = [(IDS[0], IDS[1]), (IDS[2], IDS[0])]
    write_table(layout.pairs, pd.DataFrame(pairs, columns=["moving", "fixed"]))
    # To the right is against the x axis of LPS.
    shift = np.zeros((3, *SHAPE), np.float32)
    shift[0] = -2
    grid = read_image(layout.image(IDS[0])).grid
    for moving, fixed in pairs:
        write_coded(layout.forward("demons", moving, fixed), Transform(shift, grid))
        write_coded(layout.inverse("demons", moving, fixed), Transform(-shift, grid))
    return layout


def export(layout, *options):
    return command("export", layout.root, "--method", "demons", *options)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_transform_of_an_earlier_version_is_exported_as_one_of_this_version(results, tmp_path):
    assert export(results, "--output", tmp_path / "this").returncode == 0
    for path in results.transforms("demons").rglob("*.map.gz"):
        write_before(results.before(path), read_coded(path))
        path.unlink()
    done = export(results, "--output", tmp_path / "earlier")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "earlier") == files(tmp_path / "this")
    for name in files(tmp_path / "this"):
        fields = (sitk.ReadImage(str(tmp_path / folder / name)) for folder in ("this", "earlier"))
        np.testing.assert_allclose(*map(sitk.GetArrayFromImage, fields), atol=1e-5)


def test_every_warped_image_and_label(results, tmp_path):
    done = export(results, "--output", tmp_path / "out", "--warped", "--labels")
    assert done.returncode == 0, done.stderr
    assert "4 transforms of 2 pairs, 4 warped images, 3 warped labels" in done.stdout
    one, two, three = IDS
    directions = [f"{one}_to_{two}", f"{two}_to_{one}", f"{three}_to_{one}", f"{one}_to_{three}"]
    warped = [f"warped/{name}.nii.gz" for name in directions]
    labels = [f"labels/{name}.nii.gz" for name in directions if not name.startswith(three)]
    assert files(tmp_path / "out") == sorted([f"{name}.nii.gz" for name in directions] + warped + labels)
    for kind, read, name in (("warped", read_image, ""), ("labels", read_label, "_label")):
        moving = read(tmp_path / "raw" / f"{one}{name}.nii.gz").array
        there = read(tmp_path / "out" / kind / f"{one}_to_{two}.nii.gz").array
        np.testing.assert_allclose(there[:-1], moving[1:], atol=1e-6)
        assert not there[-1].any()
        back = read(tmp_path / "out" / kind / f"{one}_to_{three}.nii.gz").array  # by the inverse
        np.testing.assert_allclose(back[1:], moving[:-1], atol=1e-6)


def test_raw_images_that_changed_or_are_not_found_are_not_warped(results, tmp_path):
    options = ("--output", tmp_path / "out", "--warped")
    write_image(tmp_path / "raw" / f"{IDS[0]}.nii.gz", Image(np.eye(6, 7)[..., None] * np.ones(8), AFFINE))
    assert "is missing, or not what was preprocessed;" in export(results, *options).stderr
    assert not (tmp_path / "out" / "warped").exists()
    results.settings("preprocess", "0").unlink()
    said = export(results, "--output", tmp_path / "other", "--warped").stderr
    assert "does not say where its raw images are; give their folder, --root." in said
    assert not (tmp_path / "other").exists()
    assert export(results, *options, "--root", tmp_path / "raw", "--fixed", IDS[1]).returncode == 1


def test_derivatives_in_bids(results, tmp_path):
    folder = tmp_path / "derivatives"
    for _ in range(2):  # into its own files, too
        done = export(results, "--bids", folder)
        assert done.returncode == 0, done.stderr
    assert files(folder) == [
        ".bidsignore",
        "dataset_description.json",
        "sub-01/anat/sub-01_from-01T1w_to-02T1w_mode-image_xfm.h5",
        "sub-01/anat/sub-01_from-01T1w_to-02run2T1w_mode-image_xfm.h5",
        "sub-02/anat/sub-02_from-02T1w_to-01T1w_mode-image_xfm.h5",
        "sub-02/anat/sub-02_from-02run2T1w_to-01T1w_mode-image_xfm.h5",
    ]
    description = read_json(folder / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert [tool["Name"] for tool in description["GeneratedBy"]] == ["cohortreg"]
    transform = sitk.ReadTransform(
        str(folder / "sub-01" / "anat" / "sub-01_from-01T1w_to-02T1w_mode-image_xfm.h5")
    )
    assert transform.TransformPoint((0.0, 0.0, 0.0)) == pytest.approx((-2, 0, 0))


def test_derivatives_in_bids_have_warped_images_and_labels(results, tmp_path):
    folder = tmp_path / "derivatives"
    write_json(tmp_path / "raw" / f"{IDS[1]}.json", {"SkullStripped": True})
    done = export(results, "--bids", folder, "--warped", "--labels")
    assert done.returncode == 0, done.stderr
    assert "4 transforms of 2 pairs, 4 warped images, 3 warped labels" in done.stdout
    names = [
        "sub-01/anat/sub-01_space-02T1w_T1w",
        "sub-01/anat/sub-01_space-02T1w_dseg",
        "sub-01/anat/sub-01_space-02run2T1w_T1w",
        "sub-01/anat/sub-01_space-02run2T1w_dseg",
        "sub-02/anat/sub-02_space-01T1w_T1w",
        "sub-02/anat/sub-02_space-01T1w_dseg",
        "sub-02/anat/sub-02_run-2_space-01T1w_T1w",
    ]
    written = [name for name in files(folder) if "_space-" in name]
    assert written == sorted(f"{name}{end}" for name in names for end in (".nii.gz", ".json"))
    moving = read_image(tmp_path / "raw" / f"{IDS[0]}.nii.gz").array
    warped = read_image(folder / f"{names[0]}.nii.gz")
    np.testing.assert_allclose(warped.array[:-1], moving[1:], atol=1e-6)
    assert read_json(folder / f"{names[1]}.json") == {
        "Sources": [
            "bids:raw:sub-01_T1w_label.nii.gz",
            "bids::sub-01/anat/sub-01_from-01T1w_to-02T1w_mode-image_xfm.h5",
        ],
        "SpatialReference": "bids:raw:sub-02_T1w.nii.gz",
    }
    stripped = [read_json(folder / f"{names[number]}.json")["SkullStripped"] for number in (0, 4)]
    assert stripped == [False, True]
    for _ in range(2):  # what links to raw images stays where only transforms are written again
        assert read_json(folder / "dataset_description.json")["DatasetLinks"] == {"raw": "../raw"}
        assert export(results, "--bids", folder).returncode == 0


@pytest.mark.parametrize(
    ("source", "suffix", "name"),
    [
        ("a/sub-1_ses-2_T2w.nii.gz", "", "sub-1/ses-2/anat/sub-1_ses-2_space-b_T2w.nii.gz"),
        ("sub-1_space-x_desc-y_T2w.nii", "", "sub-1/anat/sub-1_space-b_desc-y_T2w.nii.gz"),
        # Another subject's name, no name of BIDS, and one that does not say what the image is.
        ("sub-2_T2w.nii.gz", "T1w", "sub-1/anat/sub-1_space-b_desc-a1_T1w.nii.gz"),
        ("knee.nii.gz", "PDw", "sub-1/anat/sub-1_space-b_desc-a1_PDw.nii.gz"),
        ("sub-1_dess.nii.gz", "PDw", "sub-1/anat/sub-1_space-b_desc-a1_PDw.nii.gz"),
        ("knee.nii.gz", "", None),
        ("knee.nii.gz", "dess", None),
    ],
)
def test_names_of_warped_images_in_bids(source, suffix, name):
    names = BidsNames("h5", {"a_1": "1"}, {"a_1": source}, suffix)
    assert names.warped("a_1", "b", "label").endswith("dseg.nii.gz")
    if name:
        assert names.warped("a_1", "b", "image") == name
        return
    with pytest.raises(UserError, match=r"^knee.nii.gz: .*; give --suffix, such as T1w.$"):
        names.warped("a_1", "b", "image")


def test_a_data_set_of_others_is_left_alone(results, tmp_path):
    folder = tmp_path / "raw"
    before = files(folder)
    assert (
        "has other files; give these transforms a folder of their own."
        in export(results, "--bids", folder).stderr
    )
    write_json(folder / "dataset_description.json", {"Name": "Brains", "BIDSVersion": "1.10.0"})
    assert export(results, "--bids", folder).returncode == 1
    assert files(folder) == sorted([*before, "dataset_description.json"])


@pytest.mark.parametrize(
    "options, sentence",
    [
        ((), "give either --output or --bids."),
        (("--output", "a", "--bids", "b"), "give either --output or --bids."),
        (("--bids", "b", "--format", "learn2reg"), "--bids has transforms as .h5, .tfm or .nii.gz"),
        (("--output", "a", "--suffix", "T1w"), "--suffix is for --bids with --warped."),
    ],
)
def test_options_that_exclude_each_other(results, options, sentence):
    said = export(results, *options)
    assert (said.returncode, sentence in said.stderr) == (1, True)


def test_names_that_are_one_in_bids_are_refused(results, tmp_path):
    table = read_images(results.images)
    table.loc[table["image_id"] == IDS[2], "image_id"] = "sub-02T1w"
    write_table(results.images, table)
    pairs = [(IDS[1], IDS[0]), ("sub-02T1w", IDS[0])]
    job = Export(results, "demons", tmp_path / "out", "h5", bids=True)
    with pytest.raises(
        UserError, match=re.escape("would both be called sub-02/anat/sub-02_from-02T1w_to-01T1w")
    ):
        job.begin(pairs)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="neither letters nor digits"):
        bids_label("_-_")
