"""What the names of methods stand for."""

import typed

from cohortreg.report.names import description, main_method

STEPS = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}, {"steps": 1, "downsample": 1}]
MODELS = {"icon": typed.model({"stages": STEPS})}


def test_trained_methods_are_described_as_in_table_2():
    assert description("affine", MODELS) == "affine"
    assert description("icon-2step", MODELS) == "icon-2step (2 step 1/2 res.)"
    assert description("icon-3step", MODELS) == "icon-3step (2 step 1/2 res., 1 step full res.)"
    assert description("icon-4step", MODELS) == "icon-4step (2 step 1/2 res., 2 step full res.)"
    assert description("icon-2step-fit", MODELS) == "icon-2step-fit (2 step 1/2 res.; refined by fit)"


def test_the_last_trained_method_is_the_main_one():
    assert main_method(["identity", "icon-2step", "icon-3step", "affine"], MODELS) == "icon-3step"
    assert main_method(["identity", "affine"], {}) == "affine"
    assert main_method(["identity", "fit", "demons"], {}) == "fit"
    assert main_method(["fit", "icon-2step"], MODELS) == "icon-2step"


def test_a_model_that_is_not_of_icon_has_its_name_alone():
    models = {"avsm": typed.model({"method": "avsm", "stages": [{"steps": 7}, {"steps": 3}]})}
    assert description("avsm", models) == "avsm"
