"""Rows and their settings: what is refused, what is left out, and in which words."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typed
from configurations import CONFIGURATIONS, cohort_of
from typed import build_registration

from cohortreg.config import AvsmSettings, Configuration, VoxelMorphSettings, merge, merged, trained_methods
from cohortreg.errors import UserError
from cohortreg.files import write_json
from cohortreg.jobs.register import open_row
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.learning.devices import Device
from cohortreg.methods import registry
from cohortreg.methods.registry import PAIRWISE, Entry, check, method_class, missing, package
from cohortreg.model_files import CARD, WEIGHTS

CONFIG = Path(__file__).parents[3] / "config"
STAGE = {"steps": 1, "training_steps": 9, "batch_size": 1, "learning_rate": 1e-3, "schedule": "cosine"}
STAGE |= {"weight": 1, "weight_increment": 0, "fold_threshold": 0}


def demo(**changes) -> Configuration:
    """The demo's configuration with other values."""
    return Configuration.read(merge(merged(CONFIG / "demo.yaml"), changes))


@pytest.mark.parametrize("names", CONFIGURATIONS, ids="+".join)
def test_every_configuration_of_the_repository_names_methods_and_settings_that_there_are(names):
    check(Configuration.read(cohort_of(names)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": ["affine", "demons9"]}, r"methods\[1\]: unknown method 'demons9'; choose one of identity, affine"),
        ({"method_settings": {"afine": {}}}, "method_settings.afine: no method without training has this name"),
        ({"method_settings": {"identity": {"steps": 1}}}, "method_settings.identity.steps: has no settings"),
        ({"method_settings": {"vsvf-opt": {"iteration": 1}}}, "vsvf-opt.iteration: unknown key; did you mean"),
        ({"method_settings": {"vsvf-opt": {"iterations": 0}}}, "vsvf-opt.iterations: 0 is less than the minimum of 1"),
        ({"models": {"a": {"method": "cat", "stages": [STAGE]}}}, "models.a.method: 'cat' is not one of"),
        (
            {"models": {"a": {"method": "avsm", "settings": {"symetry": 1}, "stages": [STAGE]}}},
            "models.a.settings.symetry: unknown key; did you mean symmetry",
        ),
        ({"models": {"a": {"method": "avsm", "stages": [STAGE] * 3}}}, "models.a.stages: 3, but avsm has one for"),
        ({"models": {"a": {"method": "voxelmorph", "stages": [STAGE] * 2}}}, "models.a.stages: 2, but a model of"),
        (
            {"models": {"a": {"method": "voxelmorph", "settings": {"affine": True}, "stages": [STAGE] * 3}}},
            "models.a.stages: 3, but a model of voxelmorph has 2",
        ),
        (
            {"models": {"a": {"method": "voxelmorph", "settings": {"features": [4] * 4}, "stages": [STAGE]}}},
            r"models.a.settings.features: voxelmorph halves the grid \[24, 48, 48\] 4 times",
        ),
        (
            {"models": {"a": {"method": "avsm", "settings": {"down": [2, 4, 4], "up": [4, 4]}, "stages": [STAGE]}}},
            "models.a.settings.up: has 2 entries and down 3, but up must have two fewer",
        ),
        (
            {"models": {"a": {"method": "avsm", "settings": {"down": [1, 4, 4], "up": [4]}, "stages": [STAGE]}}},
            "models.a.settings.down: begins with 1",
        ),
        (
            {"models": {"a": {"method": "avsm", "settings": {"weights": [1]}, "stages": [STAGE]}}},
            "models.a.settings.weights: has 1 entries, but deviations has 5",
        ),
        ({"method_settings": {"vsvf-opt": {"windows": [0.1]}}}, "window_weights: has 3 entries, but windows has 1"),
        ({"pretrained": {"affine": "there"}}, "pretrained.affine: affine is already the name of a method"),
        ({"models": {"demons": {"method": "avsm", "stages": [STAGE]}}}, "models.demons: demons is already"),
        (
            {"models": {"icon-2step": {"method": "avsm", "stages": [STAGE]}}},
            "models.icon-2step: icon-2step is already the name of a row of models.icon",
        ),
        (
            {"models": {"a": {"method": "avsm", "stages": [STAGE]}}, "pretrained": {"a": "there"}},
            "pretrained.a: a is already the name of a row of models.a",
        ),
        ({"models": {"a-fit": {"method": "avsm", "stages": [STAGE]}}}, "models.a-fit: names that end in -io or -fit"),
        ({"methods": ["affine", "affine-fit"]}, r"methods\[1\]: unknown method 'affine-fit'"),
    ],
)  # fmt: skip
def test_what_no_method_has_ends_in_one_sentence(change, words):
    with pytest.raises(UserError, match=words) as caught:
        check(demo(**change))
    assert "\n" not in str(caught.value)


def test_a_method_of_3d_images_alone_is_refused_with_a_grid_of_2d_ones():
    flat = {"phantom": None, "preprocess": {"grid": [24, 48]}, "methods": ["affine", "niftyreg-nmi"]}
    with pytest.raises(UserError, match=r"methods\[1\]: niftyreg-nmi registers only 3D images") as caught:
        check(demo(**flat))
    assert "\n" not in str(caught.value)
    flat["methods"] = ["identity", "affine", "demons", "syn", "vsvf-opt", "icon-2step"]
    check(demo(**flat))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"method": "avsm", "similarity": "mse", "stages": [STAGE]}, "models.a.similarity: only a model of icon"),
        ({"method": "avsm", "stages": [STAGE | {"stride": 2}]}, r"models.a.stages\[0\].stride: only a model of icon"),
        (
            {"method": "avsm", "optimisation": {"steps": 5, "learning_rate": 1e-3}, "stages": [STAGE]},
            "models.a.optimisation: only a model of icon",
        ),
        ({"network": {"architecture": "mlp"}, "stages": [STAGE]}, "models.a.network.hidden: missing; mlp needs"),
        ({"method": "avsm", "network": {}, "stages": [STAGE]}, "models.a.network: only a model of icon"),
    ],
)  # fmt: skip
def test_keys_of_icon_are_icons_alone(model, words):
    with pytest.raises(UserError, match=words):
        demo(models={"a": model})


def test_settings_replace_their_defaults_one_by_one():
    settings = registry.read_settings("affine", {"bins": "9"}, "here")
    assert settings.whole() == {"levels": 3, "iterations": 200, "bins": 9, "sampling": 1}
    assert settings.plain() == {"bins": 9}


SETTINGS = [*(method_class(name).Settings for name in PAIRWISE), VoxelMorphSettings, AvsmSettings]


@pytest.mark.parametrize("kind", SETTINGS)
def test_every_setting_has_a_default_of_its_own_kind_and_a_description(kind):
    assert kind.read(kind().whole()) == kind()
    assert all(field.description for field in kind.model_fields.values())


def test_a_row_whose_software_is_missing_is_left_out_with_a_sentence(monkeypatch):
    monkeypatch.setitem(PAIRWISE, "absent", Entry("absent.Absent", package("no_such_package")))
    config = demo(methods=["affine", "absent", "icon-2step"])
    check(config)
    assert missing(config) == {
        "absent": "absent is left out: the package no_such_package is not installed; run make baselines"
    }


def test_a_model_that_learns_by_another_method_has_a_row_of_its_name_and_one_of_fit():
    models = {"avsm": typed.model({"method": "avsm", "stages": [STAGE, STAGE]})}
    assert trained_methods(models) == {"avsm": ("avsm", 2), "avsm-fit": ("avsm", 2)}
    assert registry.similarity_of("avsm-fit", models, {}, {}) == "LNCC, then squared LNCC + MIND"
    assert registry.similarity_of("avsm-fit", models, {}, {"fit": {"similarity": "lncc"}}) == "LNCC"
    assert registry.similarity_of("avsm", models, {}, {}) == "LNCC"
    assert registry.similarity_of("fit", {}, {}, {}) == "squared LNCC + MIND"
    assert registry.similarity_of("fit", {}, {}, {"fit": {"similarity": "mse"}}) == "MSE"


def test_a_row_is_the_stage_that_it_is_given_not_one_that_an_earlier_configuration_left(tmp_path):
    """Both stages compose three steps: that of now is the first, the second was trained before."""
    layout = Layout(tmp_path)
    network = {"architecture": "conv_only", "channels": 2, "layers": 2}
    for stage, parts in enumerate([[3], [2, 1]], start=1):
        stages = [{"steps": steps, "downsample": 1} for steps in parts]
        registration, _ = build_registration(network, stages, (4, 5, 6))
        weights.save(layout.weights("icon", stage), registration.state_dict())
        card = {"model": "icon", "steps": 3, "network": network, "stages": stages, "similarity": "mse"}
        write_json(layout.model_card("icon", stage), card | {"grid": [4, 5, 6]})
    model = str(layout.stage("icon", 1))
    device = Device("cpu", "32-true")
    opened = open_row("icon-3step", layout, 1, 1, device, model=model)
    assert [stage.steps for stage in opened.card.stages] == [3]
    refined = open_row("icon-3step-fit", layout, 1, 1, device, model=model)
    assert [stage.steps for stage in refined.method.card.stages] == [3]
    found = open_row("icon-3step-fit", layout, 1, 1, device)  # the last of both
    assert [stage.steps for stage in found.method.card.stages] == [2, 1]


def test_a_refined_row_is_another_with_other_weights_or_settings_of_fit(tmp_path):
    network, stages = (
        {"architecture": "conv_only", "channels": 2, "layers": 2},
        [{"steps": 1, "downsample": 1}],
    )
    card = {"network": network, "stages": stages, "similarity": "mse", "grid": [8, 8, 8]}
    write_json(tmp_path / CARD, card)
    versions = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        weights.save(tmp_path / WEIGHTS, build_registration(network, stages, (8, 8, 8))[0].state_dict())
        for steps in (1, 2):
            opened = open_row(
                "knees-fit", Layout(tmp_path), 1, 1, Device("cpu", "32-true"), {"steps": steps}, str(tmp_path)
            )
            versions |= {opened.version, opened.method.version, opened.fit.version}
    assert len(versions) == 4 + 2 + 2


@pytest.mark.parametrize(
    ("row", "method", "found"),
    [
        ("fit", None, ["fit"]),
        ("demons", None, ["demons", "affine"]),
        ("icon-3step", "icon", ["icon"]),
        ("avsm", "avsm", ["avsm"]),
        ("avsm-fit", "avsm", ["refined", "fit", "avsm"]),
        ("icon-3step-io", "icon", ["icon"]),
    ],
)
def test_a_row_is_of_the_releases_of_all_methods_in_it(row, method, found):
    assert [release.rpartition("-")[0] for release in registry.releases(row, method)] == found


def test_the_version_of_a_method_changes_with_its_release(monkeypatch):
    """Or the workflow would plan the row again, and its shards would keep what they have."""
    for name in ("affine", "fit", "demons", "vsvf-opt"):
        before = open_row(name, Layout("."), 1, 1, Device("cpu", "32-true"))
        for used in (name, *PAIRWISE[name].uses):
            with monkeypatch.context() as patch:
                patch.setitem(PAIRWISE, used, replace(PAIRWISE[used], release="newer"))
                newer = open_row(name, Layout("."), 1, 1, Device("cpu", "32-true"))
            assert newer.version != before.version, (name, used)


#: Settings with which a method is done in a moment.
QUICK = {
    "affine": {"iterations": 1},
    "fit": {"steps": 0.01},
    "demons": {"iterations": [1]},
    "syn": {"iterations": [1]},
    "vsvf-opt": {"iterations": 1},
}


@pytest.mark.parametrize("name", [name for name in PAIRWISE if 2 in PAIRWISE[name].dimensions])
def test_the_registry_says_what_maps_a_method_gives(flat, name):
    if sentence := PAIRWISE[name].missing({}):
        pytest.skip(sentence)
    opened = open_row(name, None, 1, 1, settings=QUICK.get(name, {}))
    found = opened(flat.moving, flat.fixed)
    assert (found.inverse is not None) == PAIRWISE[name].inverse
    curved = max(found.forward.diff(n=2, dim=axis).abs().max() for axis in (2, 3)) > 1e-5
    assert curved == PAIRWISE[name].deforms


def test_a_model_that_no_row_uses_is_said():
    config = demo(pretrained={"knees": "nowhere"})
    check(config)
    assert [sentence for sentence in registry.warnings(config) if "pretrained.knees: no row uses" in sentence]
    assert not registry.warnings(config.model_copy(update={"methods": ["affine", "knees-fit"]}))
    assert not registry.warnings(demo())


def test_an_unknown_method_is_named_with_those_there_are(tmp_path):
    for name in ("demons9", "affine-fit"):
        with pytest.raises(UserError, match=f"{name}: no such method; there are identity, affine"):
            open_row(name, Layout(tmp_path), 1, 1, Device("cpu", "32-true"))
