"""The training command, killed for real."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forkserver import forked

from cohortreg.cli.training import progress_in_words
from cohortreg.files import write_json
from cohortreg.layout import Layout
from cohortreg.learning import weights
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.data import pack

STAGE = {
    "steps": 1,
    "downsample": 1,
    "training_steps": 60,
    "batch_size": 1,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "weight": 1,
    "weight_increment": 0.1,
    "fold_threshold": 0,
    "stride": 1,
    "window": 2,
}
SETTINGS = {
    "model": {
        "network": {"architecture": "unet", "down": [2, 4, 4], "up": [4, 4]},
        "similarity": "mse",
        "regularity": "icon",
        "noise": 0,
        "stages": [STAGE],
    },
    "training": {"precision": "32-true", "accelerator": "cpu", "checkpoint_every": 5},
}


def packed(folder) -> Layout:
    layout = Layout(folder)
    random = np.random.default_rng(0)
    images = {f"image-{n}": random.random((12, 14, 10), np.float32) for n in range(3)}
    pack(
        list(images),
        lambda name: (images[name], [[0, size] for size in images[name].shape]),
        layout.packed("set"),
        layout.packed_index("set"),
    )
    write_json(layout.model_training("icon"), {"training_set": "set", "images": 3, "start": None})
    return layout


def validated(layout: Layout) -> Layout:
    """The same, with validation images of their own."""
    random = np.random.default_rng(1)
    images = {f"validation-{n}": random.random((12, 14, 10), np.float32) for n in range(3)}
    pack(
        list(images),
        lambda name: (images[name], [[0, size] for size in images[name].shape]),
        layout.packed("validation"),
        layout.packed_index("validation"),
    )
    training = json.loads(layout.model_training("icon").read_text())
    write_json(layout.model_training("icon"), training | {"validation_set": "validation"})
    return layout


def command(layout, settings=SETTINGS):
    options = ["--model", "icon", "--stage", "1", "--settings", json.dumps(settings), "--threads", "1"]
    return [*forked(), "train", str(layout.root), *options]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Layout:
    """What a training left that nothing disturbed."""
    layout = packed(tmp_path_factory.mktemp("whole"))
    subprocess.run(command(layout), check=True, capture_output=True)
    return layout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_was_ended_and_started_again_ends_with_the_same_weights(whole, tmp_path, number):
    """Asked to end, as a cluster does before it takes a node, it writes a checkpoint first and says so."""
    ended = packed(tmp_path)
    process = subprocess.Popen(command(ended), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 300
    while not list(ended.checkpoints("icon", 1).glob("*/step-00000010.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)
    process.send_signal(number)
    said, _ = process.communicate()
    assert not ended.weights("icon", 1).exists()
    if number != signal.SIGKILL:
        assert process.returncode == 1 and "Traceback" not in said
        step = re.search(
            r"stage 1 was stopped after step (\d+); the same command continues from there", said
        )[1]
        assert list(ended.checkpoints("icon", 1).glob(f"*/step-{int(step):08d}.safetensors"))
    subprocess.run(command(ended), check=True, capture_output=True)

    expected, _ = weights.load(whole.weights("icon", 1))
    found, _ = weights.load(ended.weights("icon", 1))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.equal(found[name]), name
    columns = ["step", "similarity", "inverse_consistency", "loss", "folds", "weight"]
    histories = [pd.read_csv(layout.history("icon", 1))[columns] for layout in (whole, ended)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert histories[0]["step"].tolist() == list(range(1, 61))


def test_a_training_that_has_so_many_minutes_ends_with_a_checkpoint(tmp_path):
    layout = packed(tmp_path)
    ended = subprocess.run(
        [*command(layout), "--minutes", "1e-9"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "stage 1 was stopped after step 1; the same command continues from there" in ended.stderr
    assert [path.name for path in layout.checkpoints("icon", 1).glob("*/*")] == ["step-00000001.safetensors"]
    again = subprocess.run([*command(layout), "--minutes", "60"], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert pd.read_csv(layout.history("icon", 1))["step"].tolist() == list(range(1, 61))


def test_the_models_card_says_what_made_it(tmp_path):
    layout = packed(tmp_path)
    settings = json.loads(json.dumps(SETTINGS))
    settings["model"]["stages"][0]["training_steps"] = 2
    subprocess.run(command(layout, settings), check=True, capture_output=True)
    card = json.loads(layout.model_card("icon", 1).read_text())
    assert card["steps"] == 1
    assert card["stages"] == settings["model"]["stages"]
    assert card["images"] == 3 and card["seed"] == 1
    assert card["images_sha256"] == json.loads(layout.packed_index("set").read_text())["sha256"]
    assert card["software"]["torch"] == version("torch")


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_training_curves_change_nothing_else(tmp_path, logger):
    settings = json.loads(json.dumps(SETTINGS))
    settings["model"]["stages"][0]["training_steps"] = 3
    plain, watched = packed(tmp_path / "plain"), packed(tmp_path / "watched")
    cards = []
    for layout, more in ((plain, {}), (watched, {"logger": logger})):
        subprocess.run(command(layout, settings | more), check=True, capture_output=True)
        card = json.loads(layout.model_card("icon", 1).read_text())
        cards.append({key: card[key] for key in ("weights_sha256", "training")})
    assert cards[0] == cards[1]
    assert not plain.curves("icon", 1).exists()
    (written,) = watched.curves("icon", 1).iterdir()
    assert written.name == "metrics.csv" or written.name.startswith("events.out.tfevents.")


@pytest.mark.parametrize("what", ["packed", "before"])
def test_what_is_missing_is_one_sentence(tmp_path, what):
    layout = Layout(tmp_path) if what == "packed" else packed(tmp_path)
    settings = json.loads(json.dumps(SETTINGS))
    settings["model"]["stages"].append(STAGE)
    call = command(layout, settings)
    call[call.index("--stage") + 1] = "2"
    result = subprocess.run(call, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    sentence = (
        "run `cohortreg cohort` with this model first"
        if what == "packed"
        else "train the stage that makes them first"
    )
    assert sentence in result.stderr


@pytest.mark.parametrize(
    ("settings", "stage", "sentence"),
    [
        ("{model", 1, "--settings must be JSON"),
        ("[]", 1, "--settings must be a JSON object"),
        (json.dumps({"training": {}}), 1, "--settings has no model; correct it"),
        (
            json.dumps(SETTINGS | {"training": {"accelerator": "abacus"}}),
            1,
            "--settings: training.accelerator: 'abacus' is not one of",
        ),
        (json.dumps(SETTINGS), 9, "icon has 1 stages, so there is no stage 9"),
        (
            json.dumps(SETTINGS | {"model": {"stages": [STAGE], "noise": -1}}),
            1,
            "model.noise: -1 is less than",
        ),
        (
            json.dumps(SETTINGS | {"model": {"stages": [{"steps": 1}]}}),
            1,
            "model.stages[0].training_steps: missing",
        ),
    ],
)
def test_settings_that_are_wrong_are_one_sentence(tmp_path, settings, stage, sentence):
    call = command(packed(tmp_path))
    call[call.index("--settings") + 1] = settings
    call[call.index("--stage") + 1] = str(stage)
    result = subprocess.run(call, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("cohortreg: ") and result.stderr.count("\n") == 1
    assert sentence in result.stderr


OPENMP = """
import os, sys
from cohortreg.cli import main
try: main()
except SystemExit: pass
print([os.environ.get(name) for name in sys.argv[2:]])
"""


@pytest.mark.parametrize(
    ("given", "found"), [({}, ["PASSIVE", "1000"]), ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None])]
)
def test_threads_sleep_while_they_wait_unless_the_environment_says_otherwise(given, found):
    names = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"]
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    command = [sys.executable, "-c", OPENMP, "--help", *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(found)


def test_a_hundred_thousand_threads_are_as_many_as_there_are_cores(tmp_path):
    """And half precision on a processor that does not compute in it is said; the card has what was computed in."""
    layout = packed(tmp_path)
    model = SETTINGS["model"] | {"stages": [STAGE | {"training_steps": 1}]}
    call = command(layout, {"model": model, "training": SETTINGS["training"] | {"precision": "auto"}})
    call[call.index("--threads") + 1] = "100000"
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    card = json.loads(layout.model_card("icon", 1).read_text())
    assert card["threads"] == os.cpu_count()
    assert card["training"]["precision"] == "32-true"
    assert card["weights_sha256"] == weights.digest_of(weights.load(layout.weights("icon", 1))[0])


CONV_ONLY = {"architecture": "conv_only", "channels": 4, "layers": 3}


def together(devices: int) -> list[str]:
    """What torchrun runs, as the workflow starts it."""
    return [*forked("torchrun"), "--standalone", f"--nproc-per-node={devices}", "--no-python"]


def trained(folder, run=(), prepare=lambda layout: layout, **training) -> tuple[pd.DataFrame, dict]:
    """History and weights of a network without batch normalisation, trained on four pairs a step."""
    stage = STAGE | {"batch_size": 4, "training_steps": 8, "schedule": "constant"}
    model = SETTINGS["model"] | {"network": CONV_ONLY, "stages": [stage]}
    layout = prepare(packed(folder))
    line = command(layout, {"model": model, "training": SETTINGS["training"] | training})
    result = subprocess.run([*run, *line], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    history = pd.read_csv(layout.history("icon", 1)).drop(columns="steps_per_second")
    return history, weights.load(layout.weights("icon", 1))[0]


@pytest.fixture(scope="module")
def undivided(tmp_path_factory) -> tuple[pd.DataFrame, dict]:
    """History and weights of whole batches."""
    return trained(tmp_path_factory.mktemp("undivided"))


@pytest.mark.parametrize(
    ("devices", "accumulate"), [(1, 2), (2, 1), (2, 2)], ids=["parts", "processes", "parts of processes"]
)
def test_a_batch_that_is_divided_trains_the_same_weights(undivided, tmp_path, devices, accumulate):
    """Over two processes of this machine, which exchange gradients by gloo, and over parts one after the other.

    Adam makes more of rounding errors where a gradient is next to nothing; steps move a weight by up to 8e-3.
    """
    run = together(devices) if devices > 1 else []
    expected_history, expected = undivided
    history, divided = trained(tmp_path, run, devices=devices, accumulate=accumulate)
    np.testing.assert_allclose(history, expected_history, rtol=1e-3, atol=1e-7)
    assert divided.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(divided[name], tensor, atol=4e-4, err_msg=name)
        assert np.isclose(divided[name], tensor, atol=1e-5).mean() > 0.98, name


@pytest.mark.parametrize("devices", [1, 2])
def test_a_training_that_is_measured_takes_the_same_steps(tmp_path, devices):
    """Also where several processes share them, of which the first measures."""
    run = together(devices) if devices > 1 else []
    expected_history, expected = trained(tmp_path / "alone", run, devices=devices)
    history, found = trained(tmp_path / "m", run, validated, devices=devices, validate_every=3, keep="last")
    assert expected_history["validation_loss"].isna().all()
    assert history["step"][history["validation_loss"].notna()].tolist() == [3, 6, 8]
    columns = ["step", "similarity", "inverse_consistency", "loss", "folds", "weight"]
    pd.testing.assert_frame_equal(history[columns], expected_history[columns], check_exact=True)
    assert all(tensor.equal(found[name]) for name, tensor in expected.items())
    card = json.loads(Layout(tmp_path / "m").model_card("icon", 1).read_text())["validation"]
    assert (card["set"], card["images"], card["pairs"], card["keep"]) == ("validation", 3, 3, "last")
    assert card["step"] == 8 and card["loss"] == history["validation_loss"].iloc[-1]
    assert card["training_similarity"] == pytest.approx(history["similarity"].iloc[-3:].mean())
    assert "validation" not in json.loads(Layout(tmp_path / "alone").model_card("icon", 1).read_text())


def test_the_line_of_progress_tells_the_time_left():
    row = [1, 0.5, 0.001, 0.6, 0, 1, 4.0]
    state = TrainingState(3, 1.0, [[*row[:-1], 1.0], row, row], [[2, 0.5, 0.001, 0.75]])
    assert progress_in_words(state, 103) == (
        "similarity 0.50000, inverse consistency 0.001000, folds 0.0, weight 1, "
        "validation loss 0.75000 at step 2, 4.00 steps/s, 50 s left"
    )
    state.dice = [[1, 0.3], [2, 0.4567]]
    assert "validation loss 0.75000, Dice 0.457 at step 2, 4.00" in progress_in_words(state, 103)
    state.validation.append([3, 0.5, 0.001, 0.75])
    assert "validation loss 0.75000 at step 3, 4.00" in progress_in_words(state, 103)
    assert "left" not in progress_in_words(state, 3) and progress_in_words(TrainingState(0, 1.0), 3) == ""


def processes_of(layout: Layout) -> list[int]:
    """Processes that train there: torchrun and those that it started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.fsencode(layout.root) in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


@pytest.mark.parametrize("everyone", [False, True], ids=["torchrun is", "all are"])
def test_processes_that_are_asked_to_end_stop_at_the_same_step(tmp_path, everyone):
    """Slurm signals all of them, and torchrun signals its own once more."""
    layout = packed(tmp_path)
    model = SETTINGS["model"] | {"network": CONV_ONLY, "stages": [STAGE | {"batch_size": 2}]}
    line = command(layout, {"model": model, "training": SETTINGS["training"] | {"devices": 2}})
    with subprocess.Popen([*together(2), *line], stderr=subprocess.PIPE, text=True) as process:
        while not list(layout.checkpoints("icon", 1).glob("*/step-00000010.safetensors")):
            assert process.poll() is None
            time.sleep(0.005)
        for each in processes_of(layout) if everyone else [process.pid]:
            os.kill(each, signal.SIGTERM)
        _, said = process.communicate(timeout=300)
    stopped = re.findall(r"stage 1 was stopped after step (\d+); the same command continues from there", said)
    assert len(stopped) == 1, said
    *_, last = sorted(layout.checkpoints("icon", 1).glob("*/step-*.safetensors"))
    assert last.name == f"step-{int(stopped[0]):08d}.safetensors"
