"""What `load` takes, and what it refuses before anything is loaded."""

import numpy as np
import pytest

import cohortreg
from cohortreg.errors import UserError

CUBE = (np.random.default_rng(0).random((12, 13, 14)), np.eye(4))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": 3}, "a model is a path, the name of a method or what load returned, not of type int"),
        ({"model": ""}, "no such method|model.json"),
        ({"grid": 5}, "grid is 5; give whole numbers of voxels"),
        ({"grid": "abc"}, "grid is 'abc'"),
        ({"grid": [12.5, 12, 12]}, r"grid is \[12.5, 12, 12\]"),
        ({"grid": []}, r"grid is \[\]"),
        ({"grid": np.array([12, 1, 12])}, "a grid of 12 x 1 x 12 voxels is too small"),
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"threads": 0}, "threads is 0; give a whole number from 1 on"),
        ({"threads": "2"}, "threads is '2'"),
        ({"optimisation": 3}, "optimisation is 3; give settings"),
        ({"optimisation": {"steps": 3, "learning_rate": 1e-4}}, "fit has no networks to optimise"),
        ({"settings": "abc"}, "'abc' is not of type 'object'"),
        ({"settings": {"steps": -1}}, "steps: -1 is less than or equal to the minimum"),
        ({"grid": [10**6] * 3}, "a grid of 1000000 x 1000000 x 1000000 voxels is too large"),
        ({"fit": "yes"}, "fit is 'yes'; give True or False"),
        ({"model": "affine", "axes": "LPS"}, "affine has no axes of its own"),
        ({"model": "affine", "precision": "32"}, "the precision is '32'; give one of auto, 32-true"),
        (
            {"model": "affine", "device": "cud"},
            "the accelerator is 'cud', but PyTorch finds none here; give cpu",
        ),
    ],
    ids=range(21),
)
def test_what_cannot_be_loaded_is_one_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        cohortreg.load(**options)
    assert "\n" not in str(refused.value)


def test_whole_numbers_of_any_type():
    model = cohortreg.load("identity", grid=np.array([6, 7, 8]), seed=np.int64(3), threads=np.uint8(1))
    found = cohortreg.register(CUBE, CUBE, model)
    assert found.preprocessed[0].image.shape == (6, 7, 8)


def test_a_loaded_model_is_taken_under_either_name():
    model = cohortreg.load("identity")
    one, two = cohortreg.register(CUBE, CUBE, model), cohortreg.register(CUBE, CUBE, method=model)
    assert one.name == two.name == "moving to fixed by identity"


@pytest.mark.parametrize("option", ["model", "method"])
def test_an_empty_name_is_no_default(option):
    with pytest.raises(UserError):
        cohortreg.register(CUBE, CUBE, **{option: ""})
