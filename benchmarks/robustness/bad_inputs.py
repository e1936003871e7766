"""Bad inputs: does each end in a sentence, or is what comes of it right?

python benchmarks/robustness/bad_inputs.py --output FOLDER [--count 1200] [--seed 1] [--room images ...]

Drawn by turns from eight rooms: `images` and labels of every format, damaged; `tables`; `configuration`; `settings` of
commands; `results`, our own files in a folder of results; `transforms` and landmarks; `weights`; `imports` of odd
folders. Each is tried in a forked child with a limit of time and memory. Outcomes:

sentence    refused in one sentence (a UserError, or what a command prints last)
excluded    the image is a line of excluded.tsv, and the others went on
fine        accepted, and what came of it is that of the intact input; for a configuration: its networks can be built;
            for a table: exactly the pairs that a parser of six lines finds in it were measured
as it says  accepted, with another result, as a file without a checksum and of the intact length may ask for: bits of a
            voxel, another spacing. Of an image or a field, ITK reads the same
SILENT      accepted, with another result, though a checksum fails, the file is shorter than it was, ITK reads something
            else, NaN came out, or rows, images or files are left out without a word
executed    something in the input was run
lost        a file that was there before, outside of the results, is not there as it was, or one more is
stopped     one bad image ended its whole shard, in a sentence
traceback, crash, hang

A row an input in FOLDER/bad_inputs.csv, about a second each; --only NUMBER tries one again.
"""

import contextlib
import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import damage
import nibabel
import numpy as np
import SimpleITK
import torch
import yaml
from experiments import carry_out, made_whole, one_line, parsed
from isolated import Came, command, isolated
from runs import REPOSITORY, configure, difference, new_cohort, results

from cohortreg import config as configuration
from cohortreg.config import Configuration, Preprocess
from cohortreg.errors import UserError
from cohortreg.files import read_json
from cohortreg.images.grid import Grid
from cohortreg.images.io import Image, read_image, read_label, write_image
from cohortreg.images.itk import to_sitk
from cohortreg.layout import Layout
from cohortreg.maps.exchange import Pair, read, write
from cohortreg.methods import registry

#: What a row says: the outcome, the last words or the difference.
Verdict = tuple[str, str]
SHAPE = (10, 12, 8)
EXECUTED = "executed"


@dataclass
class Material:
    """Whole inputs, made once below a folder, and a place to damage copies in."""

    folder: Path

    @property
    def place(self) -> Path:
        return self.folder / "experiment"

    def clear(self) -> Path:
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        return self.place

    def linked(self, source: Path) -> Path:
        """The place as a copy of a folder; its files are links, so that one is to be replaced and never written to."""
        shutil.rmtree(self.place, ignore_errors=True)
        subprocess.run(["cp", "-al", source, self.place], check=True)
        return self.place

    @cached_property
    def images(self) -> Path:
        return made_whole(self.folder / "images", write_formats)

    @cached_property
    def transforms(self) -> Path:
        return made_whole(self.folder / "transforms", write_transforms)

    @cached_property
    def weights(self) -> Path:
        return made_whole(self.folder / "weights", write_weights)

    @cached_property
    def cohort(self) -> Path:
        """A finished cohort, made by commands alone."""

        def make(folder: Path) -> None:
            project = new_cohort(folder)
            configure(project, lambda config: config.update(shards={"images": 1, "pairs": 1}))
            came = followed(folder, chain(folder, whole_config(folder), shown=True), 300)
            if came.how != "accepted":
                sys.exit(f"whole input: {came.how}: {came.said}")

        return made_whole(self.folder / "cohort", make)

    @cached_property
    def numbers(self) -> dict[str, str]:
        """The whole cohort's results."""
        return results(runs_project(self.cohort))


def runs_project(folder: Path):
    from projects import Project

    return Project(folder)


def replaced(path: Path, data: bytes) -> None:
    """Another file in the place of one that may be a link."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def others(folder: Path, but: str = "results") -> dict[str, bytes]:
    """Files by path, without those below one of the folders."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if name.parts[0] != but and path.is_file():
            found[str(name)] = path.read_bytes()
    return found


def touched(folder: Path, before: Mapping[str, bytes], but: str = "results") -> Verdict | None:
    """What happened to files that nobody may touch; None where nothing did."""
    after = others(folder, but)
    if run := [name for name in [*after, *map(str, Path.cwd().iterdir())] if Path(name).name == EXECUTED]:
        return "executed", f"{run[0]} was made by the input"
    differ = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return ("lost", f"{sorted(differ)[0]} is not as it was") if differ else None


# Images and labels


def write_formats(folder: Path) -> None:
    """One image in every format that is read, and a label map; `whole.nii` for the other image of a cohort."""
    rng = np.random.default_rng(1)
    affine = np.diag([1.5, 2, 1.2, 1])
    affine[:3, 3] = -12, 30, 7
    array = rng.integers(0, 900, SHAPE).astype(np.int16)
    write_image(folder / "whole.nii", Image(array, affine))
    for name in ("image.nii", "image.nii.gz", "image.mha", "image.nrrd"):
        write_image(folder / name, Image(array, affine))
    nibabel.save(nibabel.Nifti1Pair(array, affine), folder / "image.img")
    for name in ("image.mgh", "image.mgz"):
        nibabel.save(nibabel.MGHImage(array, affine), folder / name)
    itk = to_itk(array, affine)
    for name in ("detached.mhd", "detached.nhdr"):
        SimpleITK.WriteImage(itk, str(folder / name))
    SimpleITK.WriteImage(itk, str(folder / "raw.mha"), useCompression=False)
    picture = SimpleITK.GetImageFromArray(array[:, :, 0].T.astype(np.uint8))
    for name in ("image.png", "image.tif"):
        SimpleITK.WriteImage(picture, str(folder / name))
    from series import volume, write_series

    write_series(folder / "series", volume(size=SHAPE))
    label = (array > 300).astype(np.uint8) + (array > 600)
    write_image(folder / "label.nii.gz", Image(label, affine))
    write_image(folder / "label.nii", Image(label, affine))


def to_itk(array: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    return to_sitk(array, Grid(array.shape, affine), array.dtype.type)


#: Name of what is read -> the files of it that can be damaged.
FORMATS = {
    **{
        name: [name]
        for name in (
            "image.nii",
            "image.nii.gz",
            "image.mha",
            "raw.mha",
            "image.nrrd",
            "image.mgh",
            "image.mgz",
        )
    },
    **{name: [name] for name in ("image.png", "image.tif", "label.nii.gz", "label.nii")},
    "image.img": ["image.img", "image.hdr"],
    "detached.mhd": ["detached.mhd", "detached.raw"],
    "detached.nhdr": ["detached.nhdr", "detached.raw"],
    "series": ["series/003", "series/001"],
}


def images(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A damaged image or label beside a whole one, in a cohort that excludes bad ones."""
    name = random.choice(list(FORMATS))
    file = random.choice(FORMATS[name])
    place, whole = material.linked(material.images), material.images
    data = (whole / file).read_bytes()
    kinds = [*damage.BYTES]
    if ".nii" in file or file.endswith(".hdr"):
        kinds += [damage.nifti_header] * 8
    if file.endswith((".mha", ".mhd", ".nrrd", ".nhdr")):
        kinds += [damage.text_header] * 8
    kind = random.choice(kinds)
    replaced(place / file, kind(data, random))
    what = kind.__name__
    if random.random() < 0.02:
        (place / file).unlink()
        os.mkfifo(place / file)
        what = "a named pipe"
    label = name.startswith("label")
    return f"{file}: {what}", _judged_image(place, whole, name, file, label, kind is damage.cut)


def _judged_image(place: Path, whole: Path, name: str, file: str, label: bool, shorter: bool) -> Verdict:
    flat = name.endswith((".png", ".tif"))
    came = isolated(partial(_in_a_cohort, place, name, label, flat), 30)
    if came.how != "accepted":
        return ("stopped" if came.how == "sentence" else came.how), came.said
    reason, good = came.value
    if not good:
        return "SILENT", "the whole image beside it is excluded as well"
    if reason:
        return "excluded", reason
    here, intact = (isolated(partial(_voxels, folder / name, label)) for folder in (place, whole))
    if here.how != "accepted":
        return here.how, here.said
    if _same(here.value, intact.value):
        return "fine", ""
    if damage.checksum_fails(place / file):
        return "SILENT", "read with other voxels, though its checksum fails"
    if shorter:
        return "SILENT", "read with other voxels or geometry, though it is cut short"
    itk = isolated(partial(_voxels_by_itk, place / name))
    if itk.how == "accepted" and not (place / name).is_dir() and not _same(here.value, itk.value):
        return "SILENT", "ITK reads other voxels or another geometry"
    return "as it says", "ITK reads the same" if itk.how == "accepted" else "ITK reads nothing"


def _in_a_cohort(place: Path, name: str, label: bool, flat: bool) -> tuple[str, bool]:
    """Why an image is excluded, "" where it is not; and whether the whole one beside it is not."""
    import pandas as pd

    from cohortreg.jobs.preprocess import preprocess_shard

    row = {"side": "", "split": "test", "label": ""}
    pair = {"image": "whole.nii", "label": name} if label else {"image": name}
    rows = [row | {"image_id": "bad", "subject_id": "bad"} | pair]
    if not flat:
        rows.append(row | {"image_id": "good", "subject_id": "good", "image": "whole.nii"})
    index = preprocess_shard(
        Layout(place / "results"),
        pd.DataFrame(rows),
        place,
        Preprocess(grid=[8, 8] if flat else [8, 8, 8], mirror="none"),
        {"low": [1], "high": [2]} if label else {},
    )
    said = dict(zip(index["image_id"], index["reason"], strict=True))
    return said["bad"], not said.get("good")


def _voxels(path: Path, label: bool) -> list:
    image = read_label(path) if label else read_image(path)
    return [list(image.shape), image.array.astype(float).ravel().tolist(), image.affine.ravel().tolist()]


def _voxels_by_itk(path: Path) -> list:
    """The same by ITK alone."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(path))
    array, dim = SimpleITK.GetArrayFromImage(image).T, image.GetDimension()
    affine = np.eye(dim + 1)
    affine[:dim, :dim] = np.reshape(image.GetDirection(), (dim, dim)) * image.GetSpacing()
    affine[:dim, dim] = image.GetOrigin()
    affine[:2] *= -1
    return [list(array.shape), array.astype(float).ravel().tolist(), affine.ravel().tolist()]


def _same(one: list, other: list) -> bool:
    if one[0] != other[0] or len(one[2]) != len(other[2]):
        return False
    voxels = np.allclose(one[1], other[1], rtol=1e-5, atol=1e-5, equal_nan=True)
    return bool(voxels and np.allclose(one[2], other[2], rtol=1e-3, atol=1e-3, equal_nan=True))


# A cohort by its commands


def whole_config(folder: Path) -> dict:
    return configuration.load(folder / "tiny.yaml").plain()


def chain(
    folder: Path, config: Mapping, shown: bool = False, methods: Sequence[str] | None = None
) -> list[list[str]]:
    """The commands of a run, in order; shown: with figures and report. Training needs the whole cohort's set."""
    results_, methods = "results/tiny", methods or config["methods"]
    models = [name for name in config["models"] if any(method.startswith(name) for method in methods)]

    def settings_(content: Mapping) -> list[str]:
        return ["--settings", json.dumps(content)]

    def settings(*keys: str) -> list[str]:
        return settings_({key: config[key] for key in keys})

    gathered = {key: config[key] for key in ("shards", "retrain", "exclude_rated")} | {"models": models}
    rated = ["--ratings", config["ratings"]] if config["ratings"] else []
    tables = ["--images", config["images"]]
    commands = [
        ["preprocess", results_, *tables, "--root", config["root"], *settings("preprocess", "structures")],
        [
            "cohort",
            results_,
            "--name",
            "tiny",
            *tables,
            "--pairs",
            config["pairs"],
            *rated,
            *settings_(gathered),
        ],
    ]
    for model in models:
        trained = json.dumps({"model": config["models"][model], "training": config["training"]})
        commands += [["pack", results_, "--training-set", TRAINING_SET]]
        commands += [
            ["train", results_, "--model", model, "--stage", "1", "--settings", trained, "--threads", "1"]
        ]
    for method in methods:
        given = {
            "training": {"accelerator": "cpu", "precision": "32-true"},
            "model": f"{results_}/models/icon/stage-1",
        }
        given = given if models and method.startswith(models[0]) else {"method_settings": {}}
        commands.append(
            [
                "register-shard",
                results_,
                "--method",
                method,
                "--settings",
                json.dumps(given),
                "--threads",
                "1",
            ]
        )
    commands += [["evaluate", results_, "--method", method, *settings("structures")] for method in methods]
    compared = ("methods", "models", "pretrained", "method_settings", "report", "seed")
    compared = {key: config[key] for key in compared}
    commands.append(["tables", results_, "--settings", json.dumps(compared | {"methods": list(methods)})])
    if shown:
        commands.append(["figures", results_, *settings("methods", "models", "structures")])
        commands.append(["report", results_, "--settings", json.dumps(dict(config) | {"left_out": []})])
        commands.append(["provenance", f"{results_}/tables/pairs.csv"])
    return commands


#: Stands for the name that the cohort's training set has.
TRAINING_SET = "TRAINING-SET"


def followed(folder: Path, commands: Sequence[Sequence[str]], seconds: float = 120) -> Came:
    """The commands one after the other, up to the first that is not accepted, whose name its last words begin with."""
    came = Came("accepted")
    for each in commands:
        if TRAINING_SET in each:
            each = [_training_set(folder) if part == TRAINING_SET else part for part in each]
        came = command(each, folder, seconds)
        if came.how != "accepted":
            return Came(came.how, f"{each[0]}: {came.said}", None)
    return came


def _training_set(folder: Path) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        return str(read_json(Layout(folder / "results" / "tiny").model_training("icon"))["training_set"])
    names = sorted(path.name for path in (folder / "results" / "tiny" / "training").glob("*"))
    return names[0] if names else "0"


def tables(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A damaged table of images, pairs or ratings; the cohort is gathered and measured by a row of nothing done."""
    folder = material.linked(material.cohort)
    shutil.rmtree(folder / "results")
    config = whole_config(folder)
    name = random.choice(["images", "images", "pairs", "pairs", "qc"])
    path = folder / "tables" / f"{name}.tsv"
    if name == "qc":
        path.write_text("moving\tfixed\trating\tnote\ns3\ts4\tbad\tupside down\ns4\ts3\tgood\t\n")
        config |= {"ratings": "tables/qc.tsv", "exclude_rated": "bad"}
    text = path.read_text()
    if name != "qc" and random.random() < 0.5:  # a further column, which is kept and ignored
        notes = ["note", *(random.choice(damage.TEXTS) for _ in text.splitlines()[1:])]
        text = "".join(f"{line}\t{note}\n" for line, note in zip(text.splitlines(), notes, strict=True))
    data, what = damage.table(text, random)
    replaced(path, data)
    before = others(folder)
    came = followed(folder, chain(folder, config, methods=["identity"]))
    return f"{name}.tsv: {what}", touched(folder, before) or _judged_table(folder, config, came)


def _judged_table(folder: Path, config: Mapping, came: Came) -> Verdict:
    if came.how != "accepted":
        return came.how, came.said
    layout = Layout(folder / "results" / "tiny")
    images, pairs = (_plain(folder / config[name]) for name in ("images", "pairs"))
    excluded = {row["id"] for row in _plain(layout.excluded) if row["kind"] == "image"}
    unknown = excluded - {row["image_id"] for row in images}
    asked = {(row["moving"], row["fixed"]) for row in pairs}
    if config["ratings"]:
        rated = {(row["moving"], row["fixed"]): row["rating"] for row in _plain(folder / config["ratings"])}
        asked = {pair for pair in asked if rated.get(pair) != "bad"}
    asked = {pair for pair in asked if not excluded & set(pair)}
    import csv

    with layout.pairs_table.open(newline="", encoding="utf-8") as stream:
        measured = {(row["moving"], row["fixed"]) for row in csv.DictReader(stream)}
    if unknown:
        return "SILENT", one_line(f"excluded.tsv names {min(unknown)!r}, which no row of images.tsv has")
    if measured != asked:
        pair = min(measured ^ asked)
        return "SILENT", one_line(f"the pair {pair} is {'not ' * (pair in asked)}measured")
    return ("excluded", "") if excluded else ("fine", "")


def _plain(path: Path) -> list[dict[str, str]]:
    """The rows of a table of tabs, parsed in the plainest way."""
    lines = path.read_text("utf-8-sig").replace("\r\n", "\n").split("\n")
    cells = [line.split("\t") for line in lines if line.strip()]
    return [dict(zip(cells[0], [*row, *[""] * len(cells[0])], strict=False)) for row in cells[1:]]


def settings(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A wrong --settings of a command, in a finished cohort; the commands behind it follow as they are."""
    folder = material.linked(material.cohort)
    config = whole_config(folder)
    commands = chain(folder, config, shown=True)
    number = random.choice([place for place, each in enumerate(commands) if "--settings" in each])
    given = list(commands[number])
    place = given.index("--settings") + 1
    if random.random() < 0.2:
        given[place], what = damage.json_text(given[place], random), "no JSON of that kind"
        changed = None
    else:
        changed, what = damage.changed(json.loads(given[place]), random)
        given[place] = json.dumps(changed)
    before = others(folder)
    came = followed(folder, [given, *commands[number + 1 : -3]])
    verdict = touched(folder, before) or (came.how, came.said)
    if verdict[0] == "accepted":
        verdict = "fine", ""
        if differs := difference(results(runs_project(folder)), material.numbers):
            valid = _valid(config, changed, given[0])
            verdict = ("as it says", "a valid other setting") if valid else ("SILENT", differs)
    return f"{given[0]}: {what}", verdict


def _valid(config: Mapping, changed: object, name: str) -> bool:
    """Whether changed settings are such that a valid configuration can have."""
    if not isinstance(changed, dict):
        return False
    parts = {
        key: value for key, value in changed.items() if key in config and key not in ("models", "methods")
    }
    if name == "train":
        parts["models"] = {"icon": changed.get("model")}
    elif isinstance(changed.get("models"), dict):
        parts["models"] = changed["models"]
    if "methods" in changed:
        parts["methods"] = changed["methods"]
    try:
        Configuration.read(dict(config) | parts)
    except Exception:
        return False
    return True


def own_files(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """One of our own files in a finished cohort, damaged; the commands follow, and have parts to make again."""
    folder = material.linked(material.cohort)
    layout = Layout(folder / "results" / "tiny")
    files = sorted(
        path for path in layout.root.rglob("*") if path.is_file() and path.suffix not in (".png", ".svg")
    )
    of_kind: dict[str, list[Path]] = {}
    for path in files:
        of_kind.setdefault(f"{path.relative_to(layout.root).parts[0]} {path.suffix}", []).append(path)
    path = random.choice(of_kind[random.choice(sorted(of_kind))])
    data, what, edited = _damaged(path, random)
    replaced(path, data)
    gone = _make_again(layout, path, random)
    # What tables do not read, they do; and they take longer than all the rest.
    parts = (*path.relative_to(layout.root).parts[:1], path.name)
    shown = random.random() < 0.1 or bool(
        {"history.csv", "model.json", "report", "provenance", "cohort.json"} & set(parts)
    )
    before = others(folder)
    came = followed(folder, chain(folder, whole_config(folder), shown=shown))
    said = f"{path.relative_to(layout.root)}: {what}" + (f"; {gone} to be made again" if gone else "")
    if verdict := touched(folder, before):
        return said, verdict
    if came.how != "accepted":
        return said, (came.how, came.said)
    differs = difference(results(runs_project(folder)), material.numbers)
    if differs and edited:
        return said, ("as it says", "a value that somebody else wrote there")
    return said, (("SILENT", differs) if differs else ("fine", ""))


def _damaged(path: Path, random: random.Random) -> tuple[bytes, str, bool]:
    """Other content, what is wrong with it, and whether it is a value like any other: edited rather than damaged."""
    data = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.6:
        if random.random() < 0.3:
            return damage.json_text(data.decode(), random).encode(), "no JSON of that kind", False
        before = json.loads(data)
        content, what = damage.changed(before, random)
        return json.dumps(content).encode(), what, _kinds(content) == _kinds(before)
    if path.suffix in (".tsv", ".csv") and random.random() < 0.6:
        content, what = damage.table(data.decode(), random, "\t" if path.suffix == ".tsv" else ",")
        return content, what, what.startswith("cell")
    kind = random.choice(damage.BYTES)
    return kind(data, random), kind.__name__, False


def _kinds(content: object) -> object:
    """The same with each value's kind in its place."""
    if isinstance(content, dict):
        return {key: _kinds(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_kinds(value) for value in content]
    return "number" if type(content) in (int, float) else type(content).__name__


def _make_again(layout: Layout, damaged: Path, random: random.Random) -> str:
    """Remove what comes after a step, so that commands read what comes before it; returns which."""
    parts = {
        "measures": [layout.root / "tables"],
        "transforms": [layout.root / "tables", layout.root / "transforms"],
        "models": [layout.root / "tables", layout.root / "transforms", *layout.models.glob("*/stage-*")],
    }
    name = random.choice(["", *parts])
    if not name or any(damaged.is_relative_to(folder) for folder in parts[name]):
        return ""
    for folder in parts[name]:
        shutil.rmtree(folder, ignore_errors=True)
    return name


# Configurations

#: Files that are given together.
CONFIGURATIONS = (
    *(("demo",), ("demo", "comparison"), ("hippocampus",), ("oai",), ("oai-anatomy",)),
    ("oai", "oai-anatomy-full"),
)


def configurations(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A whole configuration in which one to three things are changed, or its YAML damaged."""
    files = [REPOSITORY / "config" / f"{name}.yaml" for name in random.choice(CONFIGURATIONS)]
    name = files[-1].name
    if random.random() < 0.15:
        kind = random.choice(damage.BYTES)
        path = material.clear() / name
        path.write_bytes(kind(files[-1].read_bytes(), random))
        task, what, whole = (
            partial(configuration.load, *files[:-1], path),
            kind.__name__,
            configuration.load(*files),
        )
    else:
        config, changes = configuration.load(*files).plain(), []
        for _ in range(random.choice([1, 1, 1, 2, 3])):
            config, change = damage.changed(config, random)
            changes.append(change)
        task, what, whole = partial(_validated, config), "; ".join(changes), None
    came = isolated(lambda: (_built(task()), whole in (None, task())), 20)
    if came.how != "accepted":
        return f"{name}: {what}", (came.how, came.said)
    reason, same = came.value
    if reason:
        return f"{name}: {what}", ("SILENT", f"accepted, and cannot be trained: {reason}")
    return f"{name}: {what}", (("fine", "") if same else ("as it says", "still a valid configuration"))


def _validated(config: object) -> Configuration:
    """As the workflow does it, of what YAML can say."""
    return Configuration.read(yaml.safe_load(yaml.safe_dump(config, allow_unicode=True)))


def _built(config: Configuration) -> str:
    """Check the methods, ask what every job's start asks, and build every network; returns why one cannot be."""
    registry.check(config)
    registry.missing(config)
    configuration.expand_root(config.root)
    json.dumps(config.plain())
    grid = config.preprocess.grid
    for row, (name, stage) in configuration.trained_methods(config.models).items():
        model = config.models[name]
        method = model.method
        if row not in config.methods or registry.LEARNED[method].missing({}):
            continue
        given = model.up_to(stage)
        try:
            # VoxelMorph's own package copies tensors while it builds its network.
            with contextlib.nullcontext() if method == "voxelmorph" else torch.device("meta"):
                registry.recipe(method).build(given, grid)
        except UserError:
            raise
        except Exception as error:
            return f"{row}: {type(error).__name__}: {one_line(str(error), 100)}"
    return ""


# Transforms and landmarks


def write_transforms(folder: Path) -> None:
    """One smooth field in every format that is read, an affine map, an image to warp, points."""
    affine = np.diag([1.5, 2, 1.2, 1])
    grid = Grid(SHAPE, affine)
    axes = np.stack(np.meshgrid(*[np.linspace(0, 3, n) for n in SHAPE], indexing="ij"))
    field = np.sin(axes[[1, 2, 0]]).astype(np.float32)
    write_image(
        folder / "moving.nii.gz", Image(np.random.default_rng(1).random(SHAPE).astype(np.float32), affine)
    )
    vectors = to_sitk(field, grid)
    transform = SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(vectors, SimpleITK.sitkVectorFloat64))
    for name in ("field.nii.gz", "field.nii", "field.h5", "field.tfm"):
        write(folder / name, transform, Pair(grid, grid))
    for name in ("field.mha", "field.nrrd", "field.mhd"):
        SimpleITK.WriteImage(SimpleITK.Cast(vectors, SimpleITK.sitkVectorFloat32), str(folder / name))
    moved = SimpleITK.AffineTransform(3)
    moved.SetTranslation((1.0, -2.0, 0.5))
    for name in ("affine.tfm", "affine.h5", "affine.mat"):
        SimpleITK.WriteTransform(moved, str(folder / name))
    (folder / "points.csv").write_text("name,x,y,z\na,-1,-2,3\nb,-4.5,-6,2\n")
    control = [
        {"id": str(k), "label": f"F-{k}", "position": [-k, -k, k], "positionStatus": "defined"}
        for k in (1, 2)
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": control,
    }
    (folder / "points.mrk.json").write_text(json.dumps({"markups": [markup]}))
    with contextlib.suppress(ImportError):
        from vtkmodules.vtkFiltersSources import vtkSphereSource
        from vtkmodules.vtkIOGeometry import vtkSTLWriter
        from vtkmodules.vtkIOLegacy import vtkPolyDataWriter

        for writer, name in ((vtkPolyDataWriter(), "points.vtk"), (vtkSTLWriter(), "points.stl")):
            sphere = vtkSphereSource()
            writer.SetInputConnection(sphere.GetOutputPort())
            writer.SetFileName(str(folder / name))
            writer.Write()


def transforms(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A damaged transform applied to an image, or a whole one to damaged points."""
    place = material.linked(material.transforms)
    names = sorted(path.name for path in place.iterdir() if path.name != "moving.nii.gz")
    name = random.choice(names)
    data, what = (place / name).read_bytes(), ""
    if name.endswith(".json") and random.random() < 0.7:
        content, what = damage.changed(json.loads(data), random)
        data = json.dumps(content).encode()
    elif name.endswith(".csv") and random.random() < 0.7:
        data, what = damage.table(data.decode(), random, ",")
    else:
        kinds = [*damage.BYTES, *[damage.nifti_header] * (8 * (".nii" in name))]
        kinds += [damage.text_header] * (6 * name.endswith((".mha", ".mhd", ".nrrd", ".tfm")))
        kind = random.choice(kinds)
        data, what = kind(data, random), kind.__name__
    replaced(place / name, data)
    points = name.startswith("points")
    suffix = "." + name.split(".", 1)[1] if points else ".nii.gz"
    transform, given = (
        ("field.nii.gz", name) if points else (name if name != "field.raw" else "field.mhd", "moving.nii.gz")
    )
    outputs = []
    for folder in (place, material.transforms):
        output = place / f"out-{folder.name}{suffix}"
        came = command(["apply", transform, given, output], folder)
        outputs.append((came, output))
    (came, output), (_, intact) = outputs
    return f"{name}: {what}", _judged_transform(place, transform, name, came, output, intact, what == "cut")


def _judged_transform(
    place: Path, transform: str, name: str, came: Came, output: Path, intact: Path, shorter: bool
) -> Verdict:
    if came.how != "accepted":
        return came.how, came.said
    if output.name.endswith(".nii.gz"):
        here, whole = (np.asarray(nibabel.load(path).dataobj) for path in (output, intact))
        if here.shape == whole.shape and np.allclose(here, whole, atol=1e-4, equal_nan=True):
            return "fine", ""
        if not np.isfinite(here).all():
            return "SILENT", "the warped image has NaN"
    elif output.read_bytes() == intact.read_bytes():
        return "fine", ""
    elif name.endswith((".csv", ".json")) and "nan" in output.read_text("utf-8").lower():
        return "SILENT", "points became NaN"
    if damage.checksum_fails(place / name):
        return "SILENT", "another result, though its checksum fails"
    if shorter:
        return "SILENT", "another result, though it is cut short"
    if name.startswith("field.") and not name.endswith((".h5", ".tfm")):
        ours, itk = (isolated(partial(each, place / transform)) for each in (_moved, _moved_by_itk))
        if itk.how == "accepted" and not np.allclose(ours.value, itk.value, atol=1e-3, equal_nan=True):
            return "SILENT", "ITK moves points elsewhere"
        return "as it says", "ITK reads the same" if itk.how == "accepted" else "ITK reads nothing"
    return "as it says", ""


POINTS = ((-1.0, -2.0, 3.0), (-6.0, -10.0, 4.0), (-12.0, -20.0, 8.0))


def _moved(path: Path) -> list:
    return [list(read(path).transform.TransformPoint(point)) for point in POINTS]


def _moved_by_itk(path: Path) -> list:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    field = SimpleITK.ReadImage(str(path), SimpleITK.sitkVectorFloat64)
    return [list(SimpleITK.DisplacementFieldTransform(field).TransformPoint(point)) for point in POINTS]


# Weights


class Bomb:
    """What a pickle may hold."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def write_weights(folder: Path) -> None:
    """A published model with narrow networks, as safetensors and as torch saves it."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    down, up, tensors = [2, 4, 6, 8], [16, 6, 6], {}
    firsts = (
        "netPhi.netPhi.net.netPhi.net.",
        "netPhi.netPhi.net.netPsi.net.",
        "netPhi.netPsi.net.",
        "netPsi.net.",
    )
    for prefix in (f"regis_net.{first}" for first in firsts):
        for level in range(3):
            below = down[level + 1] + (up[level + 1] if level < 2 else 0)
            for name, shape in (
                ("downConvs", (down[level + 1], down[level], 3, 3, 3)),
                ("upConvs", (below, up[level], 4, 4, 4)),
            ):
                tensors[f"{prefix}{name}.{level}.weight"] = torch.randn(shape)
                tensors[f"{prefix}{name}.{level}.bias"] = torch.randn(shape[name == "upConvs"])
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{prefix}batchNorms.{level}.{name}"] = 1 + torch.rand(up[level])
            tensors[f"{prefix}batchNorms.{level}.num_batches_tracked"] = torch.tensor(7)
        tensors[f"{prefix}lastConv.weight"] = 0.01 * torch.randn(3, 18, 3, 3, 3)
        tensors[f"{prefix}lastConv.bias"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors")
    torch.save(tensors, folder / "model.pt")


def weights(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A damaged or hostile file of weights, imported."""
    place = material.linked(material.weights)
    name = random.choice(["model.safetensors", "model.pt"])
    path = place / name
    kind = random.choice([*damage.BYTES, _hostile, _hostile, _hostile, *[_other_tensors] * 6])
    replaced(path, kind(path.read_bytes(), random))
    what = kind.__name__.strip("_")
    before = others(place, "out")
    arguments = ["--output", "out", "--grid", "16", "16", "16"]
    came = command(["import", "weights", name, *arguments], place)
    if verdict := touched(place, before, "out"):
        return f"{name}: {what}", verdict
    if came.how != "accepted":
        return f"{name}: {what}", (came.how, came.said)
    return f"{name}: {what}", _judged_weights(material, place, name, arguments)


def _fails(archive) -> bool:
    """Whether a checksum of an archive fails, or something in it cannot be read at all."""
    try:
        return archive.testzip() is not None
    except Exception:
        return True


def _judged_weights(material: Material, place: Path, name: str, arguments: Sequence[str]) -> Verdict:
    from safetensors.torch import load_file

    came = command(["import", "weights", material.weights / name, "--output", "whole", *arguments[2:]], place)
    if came.how != "accepted":
        return came.how, f"of the whole file: {came.said}"
    here, whole = (load_file(place / each / "weights.safetensors") for each in ("out", "whole"))
    if here.keys() == whole.keys() and all(torch.equal(here[key], whole[key]) for key in whole):
        return "fine", ""
    if not all(tensor.isfinite().all() for tensor in here.values()):
        return "SILENT", "weights that are NaN or infinite are imported"
    import zipfile

    if zipfile.is_zipfile(place / name) and _fails(zipfile.ZipFile(place / name)):
        return "SILENT", "imported, though a checksum of the archive fails"
    return "as it says", "another value"


def _hostile(data: bytes, random: random.Random) -> bytes:
    """A pickle that runs something when it is read."""
    content = random.choice([Bomb(EXECUTED), {"regis_net.x": Bomb(EXECUTED)}, [Bomb(EXECUTED)]])
    if random.random() < 0.5:
        return pickle.dumps(content, protocol=random.randint(0, 4))
    import io

    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=random.random() < 0.5)
    return stream.getvalue()


def _other_tensors(data: bytes, random: random.Random) -> bytes:
    """The same file with one tensor that is another."""
    import io

    from safetensors.torch import load, save

    packed = data[:2] == b"PK"
    tensors = torch.load(io.BytesIO(data), weights_only=True) if packed else load(data)
    name = random.choice(sorted(tensors))
    tensor, changes = tensors[name], ["gone", "renamed", "nan", "half", "shape", "added", "metadata", "whole"]
    if packed:
        changes += ["number", "text", "nested", "sparse"]
    change = random.choice(changes)
    if change in ("gone", "renamed"):
        tensors[f"{name}s" if change == "renamed" else "regis_net.identity_map"] = tensors.pop(name)
    elif change == "nan":
        tensors[name] = torch.full_like(tensor.float(), math.nan)
    elif change == "half":
        tensors[name] = tensor.to(torch.float64 if random.random() < 0.5 else torch.int8)
    elif change == "shape":
        tensors[name] = tensor[None].contiguous()
    elif change == "sparse":
        tensors[name] = tensor.to_sparse()
    else:
        extra = {"added": torch.zeros(2), "number": 7, "text": "weights", "nested": {"a": tensor}}
        if change in extra:
            tensors[random.choice(["more", "regis_net.more", *([5, None] if packed else [])])] = extra[change]
    if not packed:
        return save(tensors, metadata={"format": "pt"} if change == "metadata" else None)
    stream = io.BytesIO()
    torch.save({"state_dict": tensors} if change == "whole" else tensors, stream)
    return stream.getvalue()


# Imports


def imports(material: Material, random: random.Random) -> tuple[str, Verdict]:
    """A folder with something odd, imported; half of them over tables that were written by hand before."""
    place = material.clear()
    kind = random.choice([_msd, _bids, _bids, _label_maps, _oai_split])
    arguments, what = kind(place, random)
    out = place / "out"
    twice = random.random() < 0.4
    if twice:
        command([*arguments, "--output", out], place)
        for name, row in (("images", "hand\thand\t\ttest\thand.nii\t\n"), ("pairs", "hand\thand2\n")):
            if (out / f"{name}.tsv").is_file():
                with (out / f"{name}.tsv").open("a") as stream:
                    stream.write(row)
    hand = out.is_dir() and "hand" in (out / "images.tsv").read_text()
    before = others(place, "out")
    came = command([*arguments, "--output", out], place)
    what = f"{arguments[1]}: {what}" + ("; over tables that are there" if hand else "")
    if verdict := touched(place, before, "out"):
        return what, verdict
    if hand and "hand.nii" not in (out / "images.tsv").read_text():
        return what, ("lost", "a row of images.tsv that was written by hand is gone")
    if came.how != "accepted":
        return what, (came.how, came.said)
    return what, _judged_import(place, out, str(came.value), hand)


def _judged_import(place: Path, out: Path, said: str, hand: bool) -> Verdict:
    from cohortreg.cohort.tables import read_images, read_pairs
    from cohortreg.importers.folders import shown

    if not hand:
        read_back = isolated(lambda: len(read_pairs(out / "pairs.tsv", read_images(out / "images.tsv"))))
        if read_back.how != "accepted":
            return "SILENT", f"tables that cannot be read are written: {read_back.said}"
    used = {str(Path(row[column])) for row in _plain(out / "images.tsv") for column in ("image", "label")}
    there = [path for path in sorted((place / "data").rglob("*.nii*")) if path.is_file()]
    names = [str(path.relative_to(place / "data")) for path in there]
    if (place / "test.txt").is_file():  # of a list, what it names is asked for
        listed = (place / "test.txt").read_text("utf-8", "replace")
        names = [name for name in names if name in listed]
    # Of label maps the table names where the workflow will have them.
    left = [name for name in names if not used & {name, f"labels/{name}"}]
    if left and "left out" not in said.lower() and not any(shown(Path(name).name) in said for name in left):
        return "SILENT", f"{len(left)} images or labels are left out without a word, such as {left[0]}"
    return ("fine", "")


def _file(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_SMALL)


def _small() -> bytes:
    return nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4)).to_bytes()


_SMALL = _small()
#: Parts of names that datasets have though they should not.
ODD = (
    "",
    " copy",
    "(1)",
    "_",
    "-",
    ".",
    "ä",
    "'",
    '"',
    "\n",
    "x" * 180,
    "%s",
    "$(touch executed)",
    "UPPER",
    "\t",
)


def _msd(place: Path, random: random.Random) -> tuple[list[str], str]:
    data, entries = place / "data", []
    for number in range(6):
        name = f"knee_{number:03}"
        for folder in ("imagesTr", "labelsTr"):
            _file(data / folder / f"{name}.nii")
        entries.append({"image": f"./imagesTr/{name}.nii", "label": f"./labelsTr/{name}.nii"})
    content = {
        "name": "knees",
        "labels": {"0": "background"},
        "numTraining": 6,
        "training": entries,
        "test": [],
    }
    if random.random() < 0.25:
        text, what = damage.json_text(json.dumps(content), random), "no JSON of that kind"
    else:
        content, what = damage.changed(content, random)
        text = json.dumps(content)
    (data / "dataset.json").write_text(text)
    return ["import", "msd", "data", "--pairs", "1", "--test-fraction", "0.5"], what


def _bids(place: Path, random: random.Random) -> tuple[list[str], str]:
    data = place / "data"
    for number in range(5):
        anat = f"sub-{number:02}/anat/sub-{number:02}"
        _file(data / f"{anat}_T1w.nii")
        _file(data / f"derivatives/seg/{anat}_dseg.nii")
    subject, odd = f"sub-{random.randrange(5):02}", random.choice(ODD)
    names = {
        "a name with more": f"sub-01/anat/sub-01{odd}_T1w.nii",
        "a subject with more": f"{subject}{odd}/anat/{subject}{odd}_T1w.nii",
        "another suffix": f"{subject}/anat/{subject}_T1w{odd}.nii",
        "capitals": f"{subject}/anat/{subject}_T1W.nii",
        "a run": f"{subject}/anat/{subject}_run-1_T1w.nii",
        "two entities of one name": f"{subject}/anat/{subject}_run-1_run-2_T1w.nii",
        "a session": f"{subject}/ses-1/anat/{subject}_ses-1_T1w.nii",
        "another subject's folder": f"{subject}/anat/sub-99_T1w.nii",
        "not in anat": f"{subject}/{subject}_T1w.nii",
        "a label in template space": f"derivatives/seg/{subject}/anat/{subject}_space-MNI152_dseg.nii",
        "a label elsewhere": f"derivatives/{subject}/{subject}_dseg.nii",
        "a label twice": f"derivatives/other/{subject}/anat/{subject}_dseg.nii",
        "a label of another suffix": f"derivatives/seg/{subject}/anat/{subject}_label-cartilage_mask.nii",
        "a label that fits nobody": f"derivatives/seg/{subject}/anat/{subject}_acq-x_dseg.nii",
        "a folder named as an image": f"{subject}/anat/{subject}_acq-y_T1w.nii/inside.nii",
    }
    what = random.choice(list(names))
    _file(data / names[what])
    return ["import", "bids", "data", "--pairs", "1", "--test-fraction", "0.5"], f"{what}: {names[what]}"


def _label_maps(place: Path, random: random.Random) -> tuple[list[str], str]:
    for number in range(5):
        _file(place / "data" / f"900{number}_00m_label.nii")
    odd = random.choice(ODD)
    names = [
        f"9001{odd}_00m_label.nii",
        f"9001_00m{odd}_label.nii",
        f"9001_00m_label{odd}.nii",
        f"{odd}_{odd}_label.nii",
    ]
    names += [
        "9001_00m_label.nii.gz",
        "9001_label.nii",
        "9001_00m_LABEL.nii",
        "sub/9009_00m_label.nii",
        "9009_00m_label.nii/x.nii",
    ]
    name = random.choice(names)
    _file(place / "data" / name)
    return ["import", "label-maps", "data", "--pairs", "1", "--test-fraction", "0.5"], name


def _oai_split(place: Path, random: random.Random) -> tuple[list[str], str]:
    names = []
    for number in range(4):
        scan = f"900{number}_20040826_SAG_3D_DESS_LEFT_01661024350{number}"
        names.append([f"{scan}_{kind}.nii.gz" for kind in ("image", "label_all")])
        for name in names[-1]:
            _file(place / "data" / name)
    lines = [
        " ".join(f"/playpen/oai/{name}" for name in (names[a][0], names[b][0], names[a][1], names[b][1]))
        for a, b in ((0, 1), (1, 2), (2, 3))
    ]
    data, what = damage.table("\n".join(lines), random, " ")
    (place / "test.txt").write_bytes(data)
    return ["import", "oai-split", "test.txt", "--root", "data"], what


#: Rooms by name; an input is drawn from them by turns, from a room as often as it stands in TURNS.
ROOMS: dict[str, Callable[[Material, random.Random], tuple[str, Verdict]]] = {
    "images": images,
    "tables": tables,
    "configuration": configurations,
    "settings": settings,
    "results": own_files,
    "transforms": transforms,
    "weights": weights,
    "imports": imports,
}
TURNS = (
    "images",
    "images",
    "images",
    "tables",
    "tables",
    "configuration",
    "configuration",
    "settings",
    "results",
)
TURNS += ("results", "results", "transforms", "transforms", "weights", "imports", "imports")


def preload() -> None:
    """Import all of the package here, or each child would do it anew."""
    import pkgutil
    from importlib import import_module

    import cohortreg

    for module in pkgutil.walk_packages(cohortreg.__path__, "cohortreg."):
        with contextlib.suppress(ImportError):
            import_module(module.name)


def main() -> None:
    given = parsed(__doc__, 1200, room={"nargs": "+", "choices": list(ROOMS), "help": "of these rooms alone"})
    material = Material(given.output.absolute() / "bad_inputs")
    preload()
    torch.set_num_threads(1)  # the threads of OpenMP do not survive a fork, and the child would wait for them
    turns = [room for room in TURNS if not given.room or room in given.room]

    def experiment(number: int, random: random.Random) -> Mapping[str, object]:
        room = turns[number % len(turns)]
        what, (outcome, said) = ROOMS[room](material, random)
        return {"room": room, "input": one_line(what), "outcome": outcome, "said": said}

    carry_out("bad_inputs", given, experiment, ("room", "outcome"))
    shutil.rmtree(material.place, ignore_errors=True)


if __name__ == "__main__":
    main()
