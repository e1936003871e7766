"""Which images models learn from while a cohort grows."""

import shutil

import pandas as pd
import pytest
import torch
from typed import build_registration

from cohortreg.errors import UserError
from cohortreg.files import read_json, write_json
from cohortreg.jobs.training_sets import (
    assign_training_sets,
    check_packed,
    check_start,
    image_digest,
    keeps_training,
    trained_on,
    training_images,
    training_of,
)
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.methods.cards import init_of
from cohortreg.model_files import CARD, WEIGHTS

#: How the images below are preprocessed, but for what is the labels'.
SAME = [("grid", [8, 8, 8])]


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout(tmp_path / "knees")
    for name in ("a", "b", "c"):
        preprocessed(layout, name)
    return layout


def preprocessed(layout: Layout, name: str, raw: str = "", **other) -> None:
    """The sidecar of an image; raw: the content of the file that it was made from."""
    settings = {"grid": [8, 8, 8], "labels": "grid"} | other.pop("settings", {})
    made_from = {"image_sha256": raw or name, "label_sha256": "", "mirrored": False, "settings": settings}
    write_json(layout.sidecar(name), made_from | other)


def assign(
    layout: Layout, images: str, models=("icon",), retrain=None, validation="", inits=None
) -> list[str]:
    digests = {name: image_digest(read_json(layout.sidecar(name))) for name in images + validation}
    splits = ["train"] * len(images) + ["validation"] * len(validation)
    table = pd.DataFrame({"image_id": list(images + validation), "split": splits}, dtype=str)
    return assign_training_sets(layout, table, digests, models, retrain, inits or {})


def test_a_model_keeps_its_images_while_the_cohort_grows(layout):
    assert assign(layout, "ab") == []
    first = training_of(layout, "icon")
    assert first["images"] == 2 and first["start"] is None
    said = assign(layout, "abc")
    assert training_of(layout, "icon") == first
    assert said == [
        "icon was trained on an earlier set of 2 images, now there are 3; "
        "--config retrain=last or retrain=scratch trains it again"
    ]
    assert training_images(layout, first["training_set"]) == ["a", "b"]


def test_a_model_keeps_its_validation_images_too(layout):
    for name in "defg":
        preprocessed(layout, name)
    assert assign(layout, "ab", validation="cd") == []
    first = training_of(layout, "icon")
    assert training_images(layout, first["validation_set"]) == ["c", "d"]
    (said,) = assign(layout, "ab", validation="cde")
    assert "icon was measured on other validation images" in said
    assert training_of(layout, "icon") == first
    assert assign(layout, "ab", validation="cde", retrain="scratch") == []
    assert training_images(layout, training_of(layout, "icon")["validation_set"]) == ["c", "d", "e"]
    assert trained_on(layout, ["icon"]) == {"a", "b"}
    with pytest.raises(UserError, match="one validation image makes no pair"):
        assign(layout, "ab", validation="c")


def test_without_validation_images_a_training_is_told_as_ever(layout):
    assign(layout, "ab")
    assert "validation_set" not in training_of(layout, "icon")


def test_a_new_model_has_the_images_that_are_there(layout):
    assign(layout, "ab")
    assign(layout, "abc", models=("icon", "gradicon"))
    icon, gradicon = (training_of(layout, model)["training_set"] for model in ("icon", "gradicon"))
    assert icon != gradicon
    assert training_images(layout, gradicon) == ["a", "b", "c"]


def test_retraining_takes_the_images_that_are_there_and_then_keeps_them(layout):
    assign(layout, "ab")
    assert assign(layout, "abc", retrain="scratch") == []
    given = training_of(layout, "icon")
    assert given["images"] == 3 and given["start"] is None
    assert assign(layout, "abc") == []
    assert training_of(layout, "icon") == given


def test_retraining_from_the_last_weights_puts_them_aside(layout):
    """Training replaces them; a second run with the same images starts nothing anew."""
    assign(layout, "ab")
    for stage in (1, 2):
        weights.save(layout.weights("icon", stage), {"weight": torch.full((2,), float(stage))})
    assign(layout, "abc", retrain="last")
    given = training_of(layout, "icon")
    assert given["start"]
    for stage in (1, 2):
        kept, _ = weights.load(layout.start_weights("icon", stage))
        assert kept["weight"].tolist() == [stage, stage]
    weights.save(layout.weights("icon", 1), {"weight": torch.zeros(2)})
    assign(layout, "abc", retrain="last")
    assert training_of(layout, "icon") == given
    assert weights.load(layout.start_weights("icon", 1))[0]["weight"].tolist() == [1, 1]


def test_an_image_that_was_replaced_makes_another_training_set(layout):
    assign(layout, "ab")
    first = training_of(layout, "icon")["training_set"]
    preprocessed(layout, "b", raw="another")
    assert len(assign(layout, "ab")) == 1
    with pytest.raises(UserError, match="image 'b' has changed or is missing"):
        training_images(layout, first)


def test_labels_and_their_structures_are_no_part_of_a_training_set(layout):
    assign(layout, "ab")
    first = training_of(layout, "icon")
    preprocessed(
        layout, "b", label_sha256="corrected", structures={"shell": [2]}, settings={"labels": "native"}
    )
    assert assign(layout, "ab") == []
    assert training_of(layout, "icon") == first
    assert training_images(layout, first["training_set"]) == ["a", "b"]


def test_images_preprocessed_in_another_way_train_every_model_again(layout):
    """Its weights would be of images that there are none of any more, maybe of another grid."""
    assign(layout, "abc")
    first = training_of(layout, "icon")
    for name in "abc":
        preprocessed(layout, name, settings={"grid": [4, 4, 4]})
    assert assign(layout, "abc") == []
    again = training_of(layout, "icon")
    assert again["training_set"] != first["training_set"] and again["start"] is None


def test_a_model_that_went_on_from_earlier_weights_can_be_trained_from_scratch(layout):
    """With a network of other widths, its earlier weights fit no more."""
    assign(layout, "ab")
    weights.save(layout.weights("icon", 1), {"weight": torch.zeros(2)})
    assign(layout, "abc", retrain="last")
    assert training_of(layout, "icon")["start"]
    assign(layout, "abc", retrain="scratch")
    assert training_of(layout, "icon")["start"] is None


def test_what_models_learnt_from_is_told_when_the_cohort_has_moved_on(layout):
    assign(layout, "ab")
    assign(layout, "bc", models=("icon", "gradicon"))
    assert trained_on(layout, ["icon", "gradicon"]) == {"a", "b", "c"}


def test_a_list_that_is_there_is_not_written_again(layout):
    assign(layout, "ab")
    path = layout.training_images(read_json(layout.model_training("icon"))["training_set"])
    written = path.stat().st_mtime_ns
    assign(layout, "ab")
    assert path.stat().st_mtime_ns == written


def test_too_few_training_images_is_a_sentence(layout):
    assert assign(layout, "", models=()) == []
    with pytest.raises(UserError, match=r"no training image is left.*excluded.tsv says why"):
        assign(layout, "")
    with pytest.raises(UserError, match="only one training image is left"):
        assign(layout, "a")


def test_a_model_without_a_training_set_is_a_sentence(layout):
    with pytest.raises(UserError, match="run `cohortreg cohort` with this model first"):
        training_of(layout, "icon")


@pytest.mark.parametrize("change", [b"", b"image_id\tdigest\n", b"\xff", b"image_id\tdigest\na\n"])
def test_a_list_that_is_not_the_one_of_its_name_is_refused_and_written_anew(layout, change):
    assign(layout, "ab")
    name = training_of(layout, "icon")["training_set"]
    path = layout.training_images(name)
    content = path.read_bytes()
    for spoilt in (change, content.replace(b"a\t", b"c\t"), content[:-9], content[:-1] + b"0\n"):
        path.write_bytes(spoilt)
        for use in (training_images, lambda layout, name: check_packed(layout, name, ["a", "b"])):
            with pytest.raises(UserError, match="not the list that its folder is named after"):
                use(layout, name)
    with pytest.raises(UserError, match="not the list that its folder is named after"):
        trained_on(layout, ["icon"])
    assign(layout, "ab")
    assert path.read_bytes() == content
    check_packed(layout, name, ["a", "b"])
    with pytest.raises(UserError, match="its images are not those of"):
        check_packed(layout, name, ["b", "a"])


def test_weights_that_a_training_starts_with_are_those_put_aside(layout):
    assign(layout, "ab")
    for stage in (1, 2):
        weights.save(layout.weights("icon", stage), {"a": torch.full((2,), float(stage))})
    weights.save(layout.start_weights("icon", 3), {"a": torch.zeros(2)})  # of a model that had three stages
    assign(layout, "abc", retrain="last")
    start = training_of(layout, "icon")["start"]
    check_start(layout, "icon", start)
    assert not layout.start_weights("icon", 3).exists()
    weights.save(layout.start_weights("icon", 2), {"a": torch.zeros(2)})
    with pytest.raises(UserError, match="not the weights that were saved"):
        check_start(layout, "icon", start)
    check_start(layout, "icon", None)


NETWORK = {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]}


def trained(
    folder, seed: int = 0, stages=({"steps": 1, "downsample": 2}, {"steps": 1, "downsample": 1})
) -> str:
    """A trained model of two stages; returns its folder."""
    torch.manual_seed(seed)
    registration, _ = build_registration(NETWORK, stages, [8, 8, 8])
    saved = weights.save(folder / WEIGHTS, registration.state_dict())
    card = {
        "model": "before",
        "network": NETWORK,
        "stages": list(stages),
        "similarity": "mse",
        "grid": [8, 8, 8],
    }
    write_json(folder / CARD, card | {"weights_sha256": saved})
    return str(folder)


def test_a_model_that_starts_from_another_has_its_weights_put_aside_by_stage(layout, tmp_path):
    folder = trained(tmp_path / "before")
    assert assign(layout, "ab", inits={"icon": folder}) == []
    given = training_of(layout, "icon")
    check_start(layout, "icon", given["start"])
    assert given["init"] == {key: init_of(folder)[key] for key in ("model", "weights_sha256")} | {
        "start": given["start"]
    }
    whole, _ = weights.load(tmp_path / "before" / WEIGHTS)
    last, first = (weights.load(layout.start_weights("icon", stage))[0] for stage in (2, 1))
    assert last.keys() == whole.keys() and all(torch.equal(last[name], whole[name]) for name in whole)
    assert first["network.down.0.weight"].equal(whole["first.registration.network.down.0.weight"])
    # Wherever that model is later, and whatever it is.
    assign(layout, "ab", inits={"icon": folder})
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assign(layout, "ab", inits={"icon": moved})
    assert training_of(layout, "icon") == given


def test_a_model_is_trained_again_where_it_starts_from_other_weights(layout, tmp_path):
    folder, other = trained(tmp_path / "before"), trained(tmp_path / "other", seed=1)
    assign(layout, "ab")
    assert keeps_training(layout, "icon", None, SAME, None)
    starts = [training_of(layout, "icon")["start"]]
    for inits in ({"icon": folder}, {"icon": other}, {}):
        init = init_of(inits["icon"]) if inits else None
        assert not keeps_training(layout, "icon", None, SAME, None, init)
        assign(layout, "ab", inits=inits)
        starts.append(training_of(layout, "icon")["start"])
        assert keeps_training(layout, "icon", None, SAME, None, init)
    assert starts[0] is starts[3] is None and len(set(starts)) == 3
    assert "init" not in training_of(layout, "icon")


def test_retraining_of_a_model_that_starts_from_another(layout, tmp_path):
    """From scratch it starts from the other again; from its last weights, when asked for."""
    inits = {"icon": trained(tmp_path / "before")}
    assign(layout, "ab", inits=inits)
    first = training_of(layout, "icon")
    weights.save(layout.weights("icon", 1), {"weight": torch.ones(2)})
    assign(layout, "abc", retrain="last", inits=inits)
    last = training_of(layout, "icon")
    assert last["images"] == 3 and last["start"] != first["start"] and last["init"] == first["init"]
    assert weights.load(layout.start_weights("icon", 1))[0].keys() == {"weight"}
    for _ in range(2):
        assign(layout, "abc", retrain="scratch", inits=inits)
        scratch = training_of(layout, "icon")
        assert scratch["start"] == first["start"] and scratch["images"] == 3


def test_of_a_model_without_the_weights_of_its_card_nothing_starts(layout, tmp_path):
    folder = trained(tmp_path / "before")
    weights.save(tmp_path / "before" / WEIGHTS, {"weight": torch.ones(2)})
    with pytest.raises(UserError, match=r"not the weights that model.json beside them is of"):
        assign(layout, "ab", inits={"icon": folder})
    assert not layout.model_training("icon").exists()
