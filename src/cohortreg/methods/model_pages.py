"""A trained model in words: the page that a person reads who is given one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cohortreg.config import SettingsStaged
from cohortreg.evaluation.numbers import duration
from cohortreg.files import read_json
from cohortreg.losses.words import similarity_in_words
from cohortreg.maps.axes import Axes
from cohortreg.methods.cards import Card, check_weights, read_card
from cohortreg.model_files import CARD, WEIGHTS

#: What the card of a training says of it, and how it is called here.
_TRAINING = {
    "seed": "seed",
    "final_weight": "last weight of inverse consistency",
    "hardware": "hardware",
    "git_commit": "commit",
}
_USE = """## Use it

For the images of a cohort, in its configuration:

```yaml
pretrained:
  {name}: {folder}
methods: [affine, {name}, {name}-fit]
```

For two images:

```bash
cohortreg register MOVING FIXED --model {folder}
```

To train it on, on images of your own, name it under `models`, with stages of these steps and resolutions:

```yaml
models:
  mine:
    init: {folder}
    stages: [...]
```
"""


def page(folder: Path) -> str:
    """Write a model's page from its card, as Markdown; raises UserError where there is no model, or it is damaged."""
    card, recorded = read_card(folder), read_json(folder / CARD)
    name = card.model or folder.resolve().name
    count = check_weights(folder / WEIGHTS)
    files = f"`{WEIGHTS}`, {count:,} parameters, and `{CARD}`, what is known of them"
    parts = [
        f"# {name}\n",
        f"A model of {card.method}, which registers pairs of images. Two files: {files}.\n",
    ]
    for title, facts in (
        ("Images", _images(card, recorded)),
        ("Network", _network(card)),
        ("Training", _training(card, recorded)),
        ("Origin", _origin(recorded)),
    ):
        lines = [
            f"- {fact}:" + (f" {value}" if not str(value).startswith("\n") else str(value))
            for fact, value in facts
            if value not in (None, "", [], {})
        ]
        if lines:
            parts += [f"## {title}\n", "\n".join(lines) + "\n"]
    row = "".join(letter if letter.isalnum() else "_" for letter in name.lower())
    return "\n".join([*parts, _USE.format(name=row, folder=folder)])


def _images(card: Card, recorded: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    grid = Axes(card.axes).ours(card.grid) if card.axes else card.grid
    yield "voxels", f"{' x '.join(map(str, grid))} along right, anterior{', superior' * (len(grid) == 3)}"
    yield "axes of the arrays that it learnt from", card.axes
    learnt = card.preprocess.model_dump(exclude_unset=True) if card.preprocess else {}
    fits = {
        "resample": "stretched to that grid",
        "pad": "padded or cropped to that grid, voxels keep their size",
    }
    yield "fit", fits.get(str(learnt.get("fit")))
    if percentiles := learnt.get("percentiles"):
        yield "intensities", f"percentiles {percentiles[0]:g} and {percentiles[1]:g} become 0 and 1"
    yield "intensities in training", recorded.get("intensities")
    mirror = learnt.get("mirror")
    yield "side", {"none": "no image is mirrored", None: "any"}.get(mirror, f"{mirror} ones are mirrored")


def _network(card: Card) -> Iterator[tuple[str, object]]:
    network = getattr(card, "network", None)
    if network is not None:
        keys = network.plain()
        yield "architecture", f"{keys.pop('architecture')}, {_in_line(keys)}"
    if isinstance(card, SettingsStaged):
        yield "settings", _in_line(card.settings.whole())
    halved = [(stage.steps, getattr(stage, "downsample", 1)) for stage in card.stages]
    stages = [f"{steps} at {f'1/{by} of the' if by > 1 else 'full'} resolution" for steps, by in halved]
    yield "steps by stage", "; ".join(stages)


def _training(card: Card, recorded: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    if similarity := getattr(card, "similarity", ""):
        yield "similarity", similarity_in_words(similarity)
    yield "regularity", getattr(card, "regularity", None)
    yield "images", recorded.get("images")
    # With what training alone needed; none of a published model says that.
    stages = [
        _in_line({key: value for key, value in stage.items() if key != "network"})
        for stage in recorded["stages"]
        if "training_steps" in stage
    ]
    yield "stages", "".join(f"\n  {number}. {stage}" for number, stage in enumerate(stages, start=1))
    for key, name in _TRAINING.items():
        yield name, recorded.get(key)
    if isinstance(seconds := recorded.get("training_seconds"), int | float):
        yield "time of the last stage", duration(seconds)
    if isinstance(validation := recorded.get("validation"), Mapping):
        yield "validation", _in_line(validation)
    if isinstance(init := recorded.get("init"), Mapping):
        yield "started from", f"{init.get('model')}, weights {init.get('weights_sha256')}"
    if isinstance(software := recorded.get("software"), Mapping):
        yield "software", _in_line(software)


def _origin(recorded: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield "published model", recorded.get("published")
    yield "file", recorded.get("release") or recorded.get("source")
    yield "SHA-256 of the file", recorded.get("source_sha256")
    yield "SHA-256 of the weights, their names and shapes", recorded.get("weights_sha256")


def _in_line(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value not in (None, ""))
