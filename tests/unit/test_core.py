"""What trains, registers and measures needs PyTorch, NumPy, safetensors, Lightning's Fabric and pydantic alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CORE = ("torch", "numpy", "safetensors", "lightning-fabric", "pydantic")
#: Loops that Numba compiles where it is there; `fit` does without.
COMPILED = ("compiled", "kernels")
#: Some of what it does without.
OTHERS = ["SimpleITK", "nibabel", "pandas", "monai", "scipy", "yaml", "jsonschema"]
#: Of the package, what has to be imported with these alone.
FOLDERS = ("icon", "learning")
MODULES = (
    *("maps.axes", "maps.fields", "maps.grids", "maps.jacobian", "maps.separable", "maps.transforms", "maps.velocity"),
    *("evaluation.overlap", "evaluation.regularity", "evaluation.structures"),
    *("methods.fit", "methods.icon", "methods.identity", "methods.recipes", "methods.registry", "methods.trained"),
    *("paper.cells", "paper.data", "paper.direct", "paper.plan"),
    *("images.geometry", "images.image", "images.io", "config"),
)  # fmt: skip

WORK = """
import json, sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

for name in json.loads(sys.argv[1]):
    import_module(f"cohortreg.{name}")
missing = [name for name in json.loads(sys.argv[3]) if find_spec(name) is None]

from cohortreg.evaluation.overlap import dice
from cohortreg.icon.fit import fit
from cohortreg.losses.similarities import similarity_to
from cohortreg.images.image import Image
from cohortreg.learning.data import TrainingImages, pack
from cohortreg.learning.devices import Device
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import train
from cohortreg.maps.grids import identity_map, interpolate
from cohortreg.maps.jacobian import folds
from cohortreg.config import IconModel
from cohortreg.methods.fit import Fit
from cohortreg.methods.icon import Icon, for_registration
from functools import partial

folder, grid = Path(sys.argv[2]), (16, 16, 16)
points = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in grid], indexing="ij"))
def ball(shift):
    moved = points - np.array([shift, 0, 0])[:, None, None, None]
    return np.clip(6 * (0.6 - np.sqrt((moved ** 2).sum(0))), 0, 1).astype(np.float32)
balls = {f"{k}": ball(0.06 * k) for k in range(4)}
pack(list(balls), lambda k: (balls[k], [[0, n] for n in grid]), folder / "a.npy", folder / "a.json")
fabric = make_fabric("cpu", "32-true")
images = TrainingImages(folder / "a.npy", folder / "a.json", fabric.device)
stage = dict(steps=1, downsample=1, training_steps=2, batch_size=2, learning_rate=1e-3, schedule="cosine", weight=1,
             weight_increment=0, fold_threshold=0, stride=2, window=2)
model = IconModel.read(dict(network=dict(architecture="unet", down=[2, 4, 8], up=[4, 8]), similarity="squared_lncc",
                            regularity="icon", noise=0, stages=[stage]))
torch.manual_seed(1)
registration, before = Icon.build(model, grid)
objective = Icon.objective(registration, before, model)
state = train(objective, images, model.stages[0], 1, fabric, folder / "checkpoints", 1)
ready = for_registration(registration, Device("cpu", "32-true"))
a, b = images.batch(np.array([0])), images.batch(np.array([3]))
with torch.inference_mode():
    by_network = ready(a, b).on_grid(grid)
found = Fit(Fit.Settings(), 1, 1)(*(Image(x[0, 0].numpy(), np.eye(4)) for x in (a, b)))
phi = found.forward + identity_map(grid)
masks = [x[0, 0].numpy() > 0.5 for x in (a, b, interpolate(a, phi))]
print(json.dumps(dict(missing=missing, steps=state.step, moved=float((by_network - identity_map(grid)).abs().max()),
                      before=dice(masks[0], masks[1]), after=dice(masks[2], masks[1]), folds=int(folds(phi)[0]))))
"""


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    """The Python of an environment with nothing but the core's packages and what these need."""
    script = REPOSITORY / "benchmarks" / "accelerator" / "borrowed.py"
    command = [sys.executable, script, tmp_path_factory.mktemp("environment"), *CORE]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_training_a_registration_and_their_measures_need_no_other_package(core, tmp_path):
    package = REPOSITORY / "src" / "cohortreg"
    files = [file for folder in FOLDERS for file in (package / folder).glob("[!_]*.py")]
    names = [f"{file.parent.name}.{file.stem}" for file in files if file.stem not in COMPILED]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
    command = [core, "-c", WORK, json.dumps([*names, *MODULES]), str(tmp_path), json.dumps(OTHERS)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["missing"] == OTHERS
    assert found["steps"] == 2 and found["moved"] > 0
    assert found["after"] > 0.95 > found["before"] and found["folds"] == 0
