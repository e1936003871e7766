from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cohortreg.config import Configuration
from cohortreg.importers.proposal import Machine, preprocessing, proposed, structure_names, training_steps
from cohortreg.importers.survey import Survey

LAPTOP = Machine(cores=2, gpu=False)


def looked_at(shapes, spacings=(1, 1, 1), values=(), missing=None) -> Survey:
    shapes = np.array(shapes)
    return Survey(shapes, np.broadcast_to(spacings, shapes.shape), [*values], missing or {}, 9, 0)


@pytest.mark.parametrize(
    ("shapes", "spacings", "gpu", "grid", "fit"),
    [
        ([[35, 51, 35], [43, 59, 47]], (1, 1, 1), False, [48, 64, 48], "pad"),
        ([[35, 51, 35], [43, 59, 47]], [[1, 1, 1], [1, 1, 2]], False, [48, 64, 48], "resample"),
        ([[160, 384, 384]], (0.7, 0.365, 0.365), False, [80, 112, 112], "resample"),
        ([[160, 384, 384]], (0.7, 0.365, 0.365), True, [128, 160, 160], "resample"),
        ([[176, 128, 128]], (1, 1, 1), True, [176, 128, 128], "pad"),
        ([[50, 40]], (1, 1), False, [64, 48], "pad"),
        ([[512, 512, 5]], (0.5, 0.5, 5), False, [224, 224, 16], "resample"),
    ],
)
def test_the_grid(shapes, spacings, gpu, grid, fit):
    spacings = spacings if np.ndim(spacings) == 2 else spacings[: len(shapes[0])]
    chosen = preprocessing(looked_at(shapes, spacings), gpu)
    assert (chosen.grid, chosen.fit) == (grid, fit)


def test_how_long_is_trained():
    hippocampi = 48 * 64 * 48
    assert training_steps(9, hippocampi, LAPTOP) == 0
    assert training_steps(16, hippocampi, LAPTOP) == 400
    assert training_steps(160, hippocampi, LAPTOP) == 800
    assert training_steps(160, 1_000_000, LAPTOP) == 500
    assert training_steps(160, 3_000_000, Machine(1, False)) == 0
    assert training_steps(160, 3_000_000, Machine(8, True)) == 1600


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (
            '{"0": "background", "1": "Left Ventricle", "2": "mean", "3": 5}',
            {0: "background", 1: "left_ventricle"},
        ),
        ('{"background": 0, "Anterior": 1, "both": [1, 2]}', {0: "background", 1: "anterior"}),
        ('{"0": {"0": "background"}}', {}),
        ('["a"]', {}),
    ],
)
def test_names_of_structures(tmp_path, labels, names):
    assert structure_names(tmp_path) == {}
    (tmp_path / "dataset.json").write_text(f'{{"training": [], "labels": {labels}}}')
    assert structure_names(tmp_path) == names


@given(
    shapes=st.lists(st.lists(st.integers(2, 600), min_size=3, max_size=3), min_size=1, max_size=4),
    spacing=st.floats(0.1, 5),
    train=st.integers(0, 300),
    cores=st.integers(1, 128),
    gpu=st.booleans(),
    values=st.lists(st.integers(1, 2000), max_size=40, unique=True),
    root=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20),
)
@example([[2, 2, 2]], 1.0, 0, 1, False, [], "True")
@example([[2, 2, 2]], 1.0, 0, 1, False, [], ".5")
@example([[2, 2, 2]], 1.0, 0, 1, False, [], "a: [b], \u2028#\ufffe")
def test_every_configuration_is_valid(shapes, spacing, train, cores, gpu, values, root):
    images = pd.DataFrame(
        {"split": ["train"] * train + ["test"] * 4, "side": ["left", "right"] + [""] * (train + 2)}
    )
    survey = looked_at(shapes, (spacing, spacing, 2 * spacing), values, {value: 3 for value in values[::2]})
    text = proposed(
        "mine",
        Path(root),
        Path(root),
        images,
        6,
        survey,
        {1: "no"},
        Machine(cores, gpu),
        "more\nin: two lines",
    )
    configuration = Configuration.read(yaml.safe_load(text))
    assert configuration.root == str(Path(root)) and configuration.preprocess.mirror == "left"
    assert all(size % 16 == 0 for size in configuration.preprocess.grid)
    assert {*configuration.structures} == {
        "no" if value == 1 else f"label_{value}" for value in values[:30][1::2]
    }
    assert ("dual" in configuration.models) <= (train >= 10)
