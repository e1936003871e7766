"""The ladder of measurements for GPU machines: rehearsed, killed, out of time."""

import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from made_once import made_once
from projects import REPOSITORY

LADDER = REPOSITORY / "benchmarks" / "accelerator"
sys.path[:0] = [str(LADDER), str(LADDER.parent)]

import e_hippocampi  # noqa: E402
import unfinished  # noqa: E402
from bench import Bench  # noqa: E402
from data import dice_at_labels, dice_on_grid  # noqa: E402
from f_knees import resampled  # noqa: E402
from ladder import PARTS, _share  # noqa: E402
from records import Clock, OutOfTime, Results  # noqa: E402

from cohortreg.evaluation.overlap import dice  # noqa: E402
from cohortreg.evaluation.structures import structure_masks  # noqa: E402
from cohortreg.images import geometry  # noqa: E402
from cohortreg.images.grid import Grid  # noqa: E402
from cohortreg.images.image import Image  # noqa: E402
from cohortreg.maps.grids import identity_map, resize  # noqa: E402
from cohortreg.maps.transforms import to_physical  # noqa: E402


@pytest.fixture(scope="module")
def packed(hippocampus, oai_labels, icon_parity, tmp_path_factory) -> Path:
    """The folder to bring, rehearsed."""

    def pack(folder: Path) -> None:
        run = subprocess.run(
            [sys.executable, LADDER / "pack", folder, "--check"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert run.returncode == 0, run.stdout[-5000:]
        assert f"rehearsed {', '.join(PARTS)} in " in run.stdout

    return made_once(tmp_path_factory, "packed", pack)


def command(ladder: Path, packed: Path, output: Path, seconds: int, parts: str) -> list[str]:
    given = [
        sys.executable,
        ladder / "run",
        "--size",
        "small",
        "--device",
        "cpu",
        "--seconds",
        seconds,
        "--parts",
        parts,
    ]
    return list(map(str, [*given, "--packed", packed, "--output", output]))


def measured(output: Path) -> dict[tuple[str, str], dict]:
    """What a run left, by part and name; fails where one of its files is not whole."""
    found = {}
    for path in output.glob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        found |= {(content["part"], key): each for key, each in content["measurements"].items()}
    for path in output.glob("*.csv"):
        header, *rows = csv.reader(path.open(encoding="utf-8"))
        assert rows and all(len(row) == len(header) for row in rows), path
    return found


def lines(output: Path) -> int:
    log = output / "log.txt"
    return len(log.read_text("utf-8").splitlines()) if log.is_file() else 0


def test_every_part_runs_from_the_folder_alone_and_a_killed_run_goes_on(packed, tmp_path):
    output, moments, before = tmp_path / "output", random.Random(1), {}
    for kill in range(3):
        run = subprocess.Popen(command(LADDER, packed, output, 200, "ce"), stdout=subprocess.DEVNULL)
        wanted = lines(output) + moments.randint(3, 6)
        while lines(output) < wanted and run.poll() is None:
            time.sleep(0.05)
        time.sleep(moments.random() / 2)
        assert run.poll() is None, f"it ended before kill {kill}"
        run.send_signal(signal.SIGKILL)
        run.wait()
        time.sleep(0.5)  # the part's process ends with it
        there = measured(output)
        done = {name: each for name, each in there.items() if each["done"]}
        assert before.items() <= done.items() and len(done) > len(before)
        before = done
    assert (
        subprocess.run(command(LADDER, packed, output, 200, "ce"), stdout=subprocess.DEVNULL).returncode == 0
    )
    there = measured(output)
    assert before.items() <= there.items()
    assert all(each["done"] for each in there.values())
    drawn = subprocess.run([sys.executable, LADDER / "curves.py", output], capture_output=True, text=True)
    assert drawn.stdout.split() == [str(output / "e-curve.png")], drawn.stderr
    curves = [each["curve"] for (part, _), each in there.items() if part == "e"]
    for curve in curves:
        assert [row["seconds"] for row in curve] == sorted(row["seconds"] for row in curve)
        places = [(row["stage"], row["step"], row["kept"]) for row in curve]
        assert places == sorted(set(places))


PART = '''"""A part with one measurement of each kind."""
import os, signal, time
import bench as measuring
from bench import Measurement

measuring.PATIENCE = 1


def measurements(bench):
    yield Measurement("works", lambda: {"value": 1.5, "rows": [{"x": 1}, {"x": 2, "y": 3}]})
    yield Measurement("dies", lambda: os.kill(os.getpid(), signal.SIGKILL))
    yield Measurement("fails", lambda: 1 / 0)
    yield Measurement("hangs", lambda: time.sleep(1000), 1)
    yield Measurement("works too", lambda: {"value": 2})
    yield Measurement("does not look at the clock", lambda: time.sleep(1000), watched=False)
'''
FAILED = {
    "dies": "its process ended with -9",
    "fails": "ZeroDivisionError",
    "hangs": "did not end in time",
    "does not look at the clock": "did not end in time",
}


@pytest.fixture
def ladder(tmp_path) -> Path:
    """A copy of the ladder whose first part is the one above, and a packed folder without images."""
    copied = tmp_path / "copy" / "benchmarks" / "accelerator"
    shutil.copytree(LADDER, copied, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "copy" / "src").symlink_to(REPOSITORY / "src")
    (copied / "a_works.py").write_text(PART)
    (tmp_path / "packed" / "wheels").mkdir(parents=True)
    (tmp_path / "packed" / "about.json").write_text('{"commit": "c0ffee", "code": "other"}')
    return copied


def test_a_run_ends_in_time_and_without_what_dies_fails_or_hangs(ladder, tmp_path):
    output, archive = tmp_path / "output", tmp_path / "all.tar.gz"
    given = [*command(ladder, tmp_path / "packed", output, 50, "a"), "--archive", str(archive)]
    # No git there, and a limit within which it has to end.
    run = subprocess.run(
        given, timeout=50, stdout=subprocess.DEVNULL, cwd=tmp_path, env=os.environ | {"GIT_DIR": "/"}
    )
    assert run.returncode == 3
    there = measured(output)
    assert {key: each["value"] for (_, key), each in there.items()} == {"works": 1.5, "works too": 2}
    content = json.loads((output / "a.json").read_text("utf-8"))
    assert set(content["failures"]) == set(FAILED) and not content["complete"] and not content["left"]
    for key, why in FAILED.items():
        assert why in content["failures"][key]["reason"], key
        assert sum(f"{key}: failed" in line for line in (output / "log.txt").open()) == 1, "tried again"
    assert {each["commit"] for each in content["runs"]} == {"c0ffee-changed-since-packed"}
    assert (output / "a-rows.csv").read_text("utf-8") == "measurement,x,y\nworks,1,\nworks,2,3\n"
    with tarfile.open(archive) as tar:
        assert set(json.load(tar.extractfile("a.json"))["measurements"]) == {"works", "works too"}


def test_a_run_without_a_gpu_says_so_and_measures_nothing(ladder, tmp_path):
    for device in ("auto", "cuda"):
        given = command(ladder, tmp_path / "packed", tmp_path / "output", 100, "abc")
        given[given.index("--size") + 1], given[given.index("--device") + 1] = "full", device
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
        run = subprocess.run(given, env=environment, capture_output=True, text=True)
        assert run.returncode == 1
        assert "finds no GPU" in run.stderr and "Traceback" not in run.stderr
        assert not measured(tmp_path / "output")


def _curve(packed: Path, folder: Path, results: Path, asked: float = np.inf) -> dict:
    """The dual-stream network of part e, small, until the clock was asked so often."""
    times = itertools.count()
    clock = Clock(0)
    clock.left = lambda: asked - next(times)
    kept = Results(results, "e", "small", None)
    kept.begin({}, "?")
    bench = Bench(torch.device("cpu"), True, 1, packed, folder, kept, clock, "now")
    try:
        return e_hippocampi.curve(bench, "dual", 4)
    except OutOfTime:
        return {}


def test_a_training_that_was_cut_off_goes_on_elsewhere_from_few_small_files(packed, tmp_path):
    at_once = _curve(packed, tmp_path / "one", tmp_path / "one-results")
    results = tmp_path / "results"
    for first, following, steps in (("first", "second", 5), ("second", "third", 6)):
        assert not _curve(packed, tmp_path / first, results, steps)
        assert unfinished.write(tmp_path / first, tmp_path / "carried") == []
        assert len(unfinished.read(tmp_path / "carried", tmp_path / following)) == 1
    in_three = _curve(packed, tmp_path / "third", results)

    def told(found: dict) -> list[dict]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in found["curve"]]

    assert told(in_three) == told(at_once)
    assert unfinished.write(tmp_path / "third", tmp_path / "carried") == []
    assert unfinished.read(tmp_path / "carried", tmp_path / "fourth") == []


def test_unfinished_trainings_are_kept_as_far_as_they_fit_and_read_whole_or_not_at_all(tmp_path):
    work, carried = tmp_path / "work", tmp_path / "carried"
    cell = "g/cells/triangles_circles/unet/64-table1/checkpoints/abc"
    sizes = {
        "trained/one/stage-1.safetensors": 10,
        "trained/one/checkpoints-2/step-00000002.safetensors": 5,
        "trained/one/checkpoints-2/step-00000010.safetensors": 17_000_000,
        "trained/one/checkpoints-2/.host.1.step-00000011.safetensors": 3,
        f"{cell}/step-00000050.safetensors": 200,
        "trained/large/stage-1.safetensors": 8_000_000,
        "g/triangles_circles.npy": 9,
    }
    for name, size in sizes.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(np.random.default_rng(size).bytes(size))
    assert unfinished.write(work, carried, 20_000_000) == ["trained/one"]
    assert unfinished.write(work, carried, 24_000_000) == ["trained/one"]
    shutil.rmtree(work / "trained" / "large")
    assert unfinished.write(work, carried) == []
    assert len(list(carried.glob("*.part"))) == 2 and max(p.stat().st_size for p in carried.iterdir()) < 16e6
    there = tmp_path / "there" / cell / "step-00000060.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"further")
    assert unfinished.read(carried, tmp_path / "there") == ["trained/one"]
    found = {str(p.relative_to(tmp_path / "there")) for p in (tmp_path / "there").rglob("*") if p.is_file()}
    kept = {"trained/one/stage-1.safetensors", "trained/one/checkpoints-2/step-00000010.safetensors"}
    assert found == kept | {f"{cell}/step-00000060.safetensors"}
    assert all((tmp_path / "there" / name).read_bytes() == (work / name).read_bytes() for name in kept)
    piece = next(carried.glob("*.part"))
    piece.write_bytes(piece.read_bytes()[:-1] + b"?")
    assert unfinished.read(carried, tmp_path / "elsewhere") == []
    piece.unlink()
    assert unfinished.read(carried, tmp_path / "elsewhere") == []


def test_a_process_ends_with_the_one_that_started_it_even_before_it_is_ready(tmp_path):
    """As those of part g, which load PyTorch first."""
    child = f"import sys, time; sys.path[:0] = {sys.path!r}; open(sys.argv[2], 'w').close(); time.sleep(1)\n"
    child += "from ladder import end_with_parent; end_with_parent(int(sys.argv[1])); open(sys.argv[3], 'w').close()"
    parent = "import os, subprocess, sys, time; "
    parent += "subprocess.Popen([sys.executable, '-c', sys.argv[1], str(os.getpid()), *sys.argv[2:]]); time.sleep(60)"
    for killed in (True, False):
        begun, ready = tmp_path / f"begun-{killed}", tmp_path / f"ready-{killed}"
        process = subprocess.Popen([sys.executable, "-c", parent, child, str(begun), str(ready)])
        while not begun.exists():
            time.sleep(0.05)
        if killed:
            process.kill()
            process.wait()
            time.sleep(6)
            assert not ready.exists()
        else:
            deadline = time.monotonic() + 60
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert ready.exists()
            process.kill()
            process.wait()


def test_what_has_the_rest_of_the_time_leaves_the_shares_of_those_after_it():
    parts = [part for part in PARTS]
    assert _share("a", parts, 500) == 60 and _share("a", parts, 30) == 30
    assert _share("f", parts[5:], 300) == 240 == _share("g", parts[6:], 300)
    assert _share("f", parts[5:], 40) < 0 and _share("h", parts[7:], 40) == 40


def test_what_is_known_is_not_measured_again_and_sizes_do_not_mix(tmp_path):
    known, output = tmp_path / "known", tmp_path / "output"
    known.mkdir(), output.mkdir()
    first = Results(known, "b", "full", None)
    first.begin({"device": "one"}, "a question?")
    first.add("fast", {"value": 1}, 2.0)
    first.add("slow", {"value": 3}, 2.0, done=False)
    second = Results(output, "b", "full", known)
    second.begin({"device": "another"}, "a question?")
    assert second.has("fast") and not second.has("slow") and not second.has("new")
    second.left = ["slow", "new"]
    second.add("slow", {"value": 4}, 1.0)
    written = json.loads((output / "b.json").read_text("utf-8"))
    assert written["left"] == ["new"] and not written["complete"]
    assert [each["device"] for each in written["runs"]] == ["one", "another"]
    assert {key: (each["run"], each["value"]) for key, each in written["measurements"].items()} == {
        "fast": (0, 1),
        "slow": (1, 4),
    }
    assert not Results(tmp_path / "empty", "b", "small", known).has("fast")
    with pytest.raises(Exception, match="choose another folder"):
        Results(output, "b", "small", None)


def test_knees_are_resampled_as_preprocessing_does(tmp_path):
    array = np.random.default_rng(1).random((16, 24, 20)).astype(np.float32)
    by_itk = geometry.resampled(Image(array, np.eye(4)), (8, 12, 10)).array
    assert np.abs(by_itk - array[::2, ::2, ::2]).max() > 0.1
    np.testing.assert_allclose(resampled(array, [8, 12, 10]), by_itk, atol=1e-5)


def _field(shape: tuple[int, ...], voxels: float) -> torch.Tensor:
    """A smooth random displacement of about so many voxels, in unit coordinates."""
    coarse = torch.randn(1, len(shape), *[3] * len(shape), generator=torch.Generator().manual_seed(1))
    size = torch.tensor([n - 1.0 for n in shape]).reshape(1, -1, *[1] * len(shape))
    return voxels * resize(coarse, shape) / size


def _labels(shape: tuple[int, ...], shift: float) -> np.ndarray:
    """A label map of two structures."""
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    distance = np.sqrt(((points - shift) ** 2).sum(0))
    return np.digitize(-distance, [-0.6, -0.35]).astype(np.uint8)


STRUCTURES = {"shell": [1], "core": [2]}


@pytest.mark.parametrize("finer", [1, 2])
def test_dice_is_that_of_the_evaluation(finer):
    coarse = (14, 16, 12)
    fine = tuple(finer * size for size in coarse)
    moving, fixed = _labels(fine, 0.1), _labels(fine, 0.0)
    affine = np.diag([1.0 / finer, 1.0 / finer, 1.0 / finer, 1.0])
    affine[:3, 3] = (1 / finer - 1) / 2  # the outer edges of both grids are aligned
    grid = Grid(coarse, np.eye(4))
    field = _field(coarse, 0.7)
    transform = to_physical(field, grid, grid)
    masks = structure_masks(Image(moving, affine), Image(fixed, affine), transform, STRUCTURES)
    wanted = np.mean([dice(warped, target) for _, warped, target in masks])
    found = dice_at_labels(field, *map(torch.from_numpy, (moving, fixed)), STRUCTURES)
    assert 0.3 < wanted < 0.95
    assert found == pytest.approx(wanted, abs=2e-3)
    if finer == 1:
        phi = field + identity_map(coarse)
        (on_grid,) = dice_on_grid(
            phi, *(torch.from_numpy(each)[None] for each in (moving, fixed)), STRUCTURES
        )
        assert on_grid.item() == pytest.approx(wanted, abs=2e-3)
