"""A model of one cohort in another one: as it is, and as what training starts from."""

import re
import shutil

import pytest
import torch
import yaml
from projects import Project

from cohortreg.files import read_json, write_json
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.model_files import CARD, WEIGHTS
from cohortreg.records import history

MODEL = "results/tiny/models/icon/stage-2"


@pytest.fixture
def another(finished, tmp_path) -> Project:
    """A cohort of other results beside the finished one, which names the model of that one, and no preprocessing."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    configured = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    icon = configured["models"]["icon"]
    del configured["preprocess"], icon["network"]
    icon["init"] = MODEL
    for stage in icon["stages"]:
        stage |= {"training_steps": 2, "learning_rate": 1e-9}
    changes = {
        "cohort": "other",
        "pretrained": {"knees": MODEL},
        "methods": ["affine", "icon-3step", "knees"],
    }
    configure(Project(tmp_path), configured | changes)
    return Project(tmp_path)


def configure(project: Project, configured: dict) -> None:
    (project.folder / "tiny.yaml").write_text(yaml.safe_dump(configured))


def test_a_model_registers_another_cohort_and_training_goes_on_from_it(another):
    run = another.snakemake("tables")
    assert run.returncode == 0, run.stdout
    there, other = Layout(another.results), Layout(another.folder / "results" / "other")
    card, before = read_json(other.model_card("icon", 2)), read_json(there.model_card("icon", 2))
    assert card["preprocess"] == before["preprocess"] and card["network"] == before["network"]
    assert card["init"]["model"] == "icon" and card["init"]["weights_sha256"] == before["weights_sha256"]
    assert card["start"] == card["init"]["start"] and "init" not in before
    # Two steps at next to no learning rate: the weights are those of before, but for statistics of batches.
    for stage in (1, 2):
        first, trained = (weights.load(layout.weights("icon", stage))[0] for layout in (there, other))
        assert all(
            tensor.any() for name, tensor in first.items() if name.endswith("last.weight")
        )  # it was trained
        for name in (name for name in first if name.endswith((".weight", ".bias"))):
            torch.testing.assert_close(trained[name], first[name], atol=1e-7, rtol=0)
    (gathered,) = (
        record for _, record in history(other.root) if record["command"].startswith("cohortreg cohort ")
    )
    assert {f"{MODEL}/{WEIGHTS}", f"{MODEL}/{CARD}"} <= set(gathered["inputs"])
    assert "Nothing to be done" in another.snakemake("tables", "--dry-run").stdout
    # With other weights there, what started from them is trained again, and all that uses them is done again.
    tensors = {name: tensor + 1e-3 for name, tensor in weights.load(there.weights("icon", 2))[0].items()}
    saved = weights.save(there.weights("icon", 2), tensors)
    write_json(there.model_card("icon", 2), before | {"weights_sha256": saved})
    run = another.snakemake("tables")
    assert run.returncode == 0, run.stdout
    assert re.findall(r"^(?:local)?rule (train):", run.stdout, flags=re.MULTILINE) == ["train"] * 2
    assert read_json(other.model_card("icon", 2))["init"]["weights_sha256"] == saved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preprocess": {"grid": [16, 16, 8]}}, "pretrained.knees: .* of \\[16, 16, 16\\] voxels, but preprocess.grid"),
        ({"preprocess": {"percentiles": [0, 100]}}, "pretrained.knees: .*set preprocess.percentiles to \\[1, 99\\]"),
        ({"preprocess": {"mirror": "right"}}, "pretrained.knees: .*preprocess.mirror is right; set preprocess.mirror"),
        ({"pretrained": {"knees": "nowhere"}}, "pretrained.knees: nowhere/model.json: no such file"),
        ({"init": "nowhere"}, "models.icon.init: nowhere/model.json: no such file"),
        ({"stages": [{"downsample": 1}]}, "models.icon.init: .* 2 as the downsample of stages\\[0\\], and this one 1"),
        (
            {"network": {"architecture": "unet", "down": [2, 4, 16], "up": [4, 4]}},
            "models.icon.init: .* has architecture unet, down \\[2, 4, 8\\], up \\[4, 4\\] as the network of stages",
        ),
    ],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_one_sentence_of_a_dry_run(another, change, words):
    configured = yaml.safe_load((another.folder / "tiny.yaml").read_text())
    icon = configured["models"]["icon"]
    icon |= {key: change.pop(key) for key in ("init", "network") if key in change}
    for stage, other in zip(icon["stages"], change.pop("stages", []), strict=False):
        stage |= other
    configure(another, configured | change)
    run = another.snakemake("--dry-run", "--quiet")
    assert run.returncode == 1
    said = [
        line for line in run.stdout.splitlines() if line.startswith("cohortreg: ") and "warning" not in line
    ]
    assert len(said) == 1 and re.search(words, said[0]), run.stdout
    assert "Traceback" not in run.stdout
