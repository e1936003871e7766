"""Which images models learn from while a cohort grows."""

import pandas as pd
import pytest
import torch

from cohortreg.cohort.training_sets import assign_training_sets, training_images, training_of
from cohortreg.errors import UserError
from cohortreg.files import digest_file, read_json, write_json
from cohortreg.layout import Layout
from cohortreg.learning import weights


@pytest.fixture
def layout(tmp_path) -> Layout:
    layout = Layout(tmp_path / "knees")
    for name in ("a", "b", "c"):
        write_json(layout.sidecar(name), {"made_from": name})
    return layout


def assign(layout: Layout, images: str, models=("icon",), retrain=None) -> list[str]:
    sidecars = {name: digest_file(layout.sidecar(name)) for name in images}
    return assign_training_sets(layout, pd.DataFrame({"image_id": list(images)}), sidecars, models, retrain)


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


def test_the_same_images_made_otherwise_are_another_training_set(layout):
    assign(layout, "ab")
    first = training_of(layout, "icon")["training_set"]
    write_json(layout.sidecar("b"), {"made_from": "another"})
    assert len(assign(layout, "ab")) == 1
    with pytest.raises(UserError, match="image 'b' is not there as it was any more"):
        training_images(layout, first)


def test_a_list_that_is_there_is_not_written_again(layout):
    assign(layout, "ab")
    path = layout.training_images(read_json(layout.model_training("icon"))["training_set"])
    written = path.stat().st_mtime_ns
    assign(layout, "ab")
    assert path.stat().st_mtime_ns == written


def test_no_training_images_is_a_sentence(layout):
    assert assign(layout, "", models=()) == []
    with pytest.raises(UserError, match="no training images"):
        assign(layout, "")


def test_a_model_without_a_training_set_is_a_sentence(layout):
    with pytest.raises(UserError, match="run cohortreg cohort with this model first"):
        training_of(layout, "icon")
