"""The pages of the pairs, pairs/{moving}/{fixed}.html and .js below the report, and their images, images/{id}.js."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from jinja2 import Environment

from cohortreg.config import Configuration
from cohortreg.errors import UserError
from cohortreg.evaluation.measures import DICE, Measure, measures_with
from cohortreg.evaluation.ranking import best_first
from cohortreg.evaluation.sampling import centres
from cohortreg.files import write_text
from cohortreg.images.image import Structures
from cohortreg.report import table2
from cohortreg.report.comparison import Comparison, Source
from cohortreg.report.figures import style
from cohortreg.report.names import main_method
from cohortreg.report.pages import pair_volumes
from cohortreg.report.pages.pair_volumes import Images, Registered, label_pixels
from cohortreg.report.pages.picture import difference_colours, draw_picture
from cohortreg.report.pages.volumes import block_sizes, data_url, packed, shrunk_image, tiled, to_bytes
from cohortreg.report_layout import ReportLayout

# Measured on 12 registrations of hippocampi (48 x 64 x 48 voxels), bytes of base64. At these qualities of WebP a warped
# image takes so many bytes a voxel, and is off by 1.3 %, 2.0 % and 2.7 % of the range (root mean square); the best is
# taken with which all warped images of a report stay within WARPED_AT_MOST. 15 methods on 100 such pairs get the
# lowest: 19.8 KB a warped image, 1.9 its label, 2.0 the Jacobian, 4.3 the map, 28 together; and 33 an image.
QUALITIES = {80: 0.258, 55: 0.18, 30: 0.1345}
WARPED_AT_MOST = 30e6
IMAGE_QUALITY = 60
JACOBIAN_QUALITY = 30
# Steps of the map's displacement, in voxels; half of one is the error. Finer ones cost 1 KB a method and show nothing.
STEP = 0.1
PICTURE_QUALITY = 40
#: That pages are made on, as many as the workflow's rule has: half of the time is that of pictures' encoder.
THREADS = 2
#: What makes a cell of a row of the table of pairs.
Cell = Callable[[Mapping[str, Any]], str]


def choose_pairs(comparison: Comparison) -> list[tuple[str, str]]:
    """Moving and fixed of each pair of the main set that gets a page, the worst by the main method first.

    As many as `report.pages` says, always with the best and the median; pairs that the main method has no rank for,
    since it failed or they have no labels, come last.
    """
    wanted = comparison.config.report.pages
    if not wanted:
        return []
    pairs, method = comparison.main_pairs, comparison.main_method
    ranked = [_ids(row) for row in best_first(pairs, method)[::-1].itertuples()]
    kept = {_ids(row) for row in comparison.shown.values()}
    kept.update([pair for pair in ranked if pair not in kept][: max(0, wanted - len(kept))])
    own = map(_ids, pairs[pairs["method"] == method].itertuples())
    others = [pair for pair in own if pair not in set(ranked)]
    return [pair for pair in ranked if pair in kept] + others[: max(0, wanted - len(kept))]


def _ids(row: Any) -> tuple[str, str]:
    return row.moving, row.fixed


def write_pair_pages(
    folder: Path, comparison: Comparison, environment: Environment, advance: Callable[[], None] = lambda: None
) -> list[tuple[str, str]]:
    """Write a page for each pair of `choose_pairs`, and the script of what it shows.

    Images are written once each, however many pages show them.

    Args:
        folder: Of the report, which is there already and not yet under its final name.
        environment: Has the report's templates; pages extend `base.html.j2`.

    Returns:
        Moving and fixed of each page written, in the order in which pages lead from one to the next. What a page cannot
        show, such as a transform that was deleted, it names.
    """
    source, config = comparison.source, comparison.config
    report, chosen = ReportLayout(folder), choose_pairs(comparison)
    rows = dict(iter(comparison.pairs.groupby(["moving", "fixed"], sort=False)))
    template, cohort = environment.get_template("pair.html.j2"), source.summary()

    def write_page(place: int) -> Sequence[str]:
        """Write a pair's page and its script; return the images that it shows."""
        moving, fixed = chosen[place]
        shown = show_pair(source, config, rows[moving, fixed], pages=len(chosen))
        picture, images = shown.pop("picture"), (moving, fixed) if shown["start"] else ()
        defined = [one for one in comparison.measures if one.title in shown["columns"]]
        content = {
            "definitions": {one.name: one.definition for one in defined},
            **{"previous": _link(chosen, place - 1), "next": _link(chosen, place + 1)},
            **{"place": place + 1, "places": len(chosen), "picture": picture},
            **{"root": "../../", "cohort": cohort, "script": quote(f"{fixed}.js", safe="")},
            "images": [quote(f"{image_id}.js", safe="") for image_id in images],
        }
        write_text(report.pair(moving, fixed), template.render(shown | content))
        write_text(report.pair(moving, fixed, "js"), f"cohortreg.pair({json.dumps(shown)});\n")
        return images

    written: set[str] = set()
    with ThreadPoolExecutor(THREADS) as pool:
        for images in pool.map(write_page, range(len(chosen))):
            for image_id in set(images) - written:
                content = show_image(source, image_id, config.structures)
                write_text(report.image(image_id), f"cohortreg.image({json.dumps(content)});\n")
                written.add(image_id)
            advance()
    return chosen


def _link(chosen: Sequence[tuple[str, str]], place: int) -> str:
    """The address of a page as the others have it; empty where there is none."""
    return f"../{page_address(*chosen[place])}" if 0 <= place < len(chosen) else ""


def page_address(moving: str, fixed: str) -> str:
    """Where a pair's page is below pairs/, escaped as addresses are."""
    return f"{quote(moving, safe='')}/{quote(fixed, safe='')}.html"


def show_image(source: Source, image_id: str, structures: Structures) -> dict[str, Any]:
    """What the script of an image says: its volume and its label's, as volumes.js has them; None without a label."""
    image = source.image(image_id)
    image = shrunk_image(image, block_sizes(image.shape, image.spacing))
    label = None
    if structures and (labels := source.labels(image_id)):
        pixels = label_pixels(labels[0], centres(image.grid), drawn(structures))
        label = _packed_label(pixels, image.spacing)
    shown = packed(tiled(to_bytes(image.array, 0, 1)), image.spacing, IMAGE_QUALITY)
    return {"id": image_id, "image": shown, "label": label}


def show_pair(source: Source, config: Configuration, rows: pd.DataFrame, pages: int) -> dict[str, Any]:
    """Collect the content of a pair's page and script; volumes.js describes the volumes.

    Args:
        rows: Of the table of pairs, a row a method.
        pages: How many there will be, which decides on the quality of what they show.

    Returns:
        The content; `start` is None where there is nothing to look at.
    """
    moving, fixed = _ids(rows.iloc[0])
    structures, main = config.structures, main_method(config.methods, config.models)
    columns = _columns(rows, structures, measures_with(config.measures))
    every, structures = structures, drawn(structures)
    colours = style.colours_on_grey(list(structures))
    shown: dict[str, Any] = {
        "moving": moving,
        "fixed": fixed,
        "main": main,
        "absent": "",
        "mirrored": [
            name for name, image_id in (("moving", moving), ("fixed", fixed)) if source.is_mirrored(image_id)
        ],
        "structures": [{"name": name.replace("_", " "), "colour": colours[name]} for name in structures],
        "columns": list(columns),
        "methods": [_measures(row, columns) for row in rows.to_dict("records")],
        "labelled": False,
        "start": None,
        "picture": None,
        "pictured": "",
    }
    try:
        images = pair_volumes.read_images(source, moving, fixed)
    except UserError as error:
        return shown | {"absent": f"There is nothing to look at: {source.in_short(error)}"}
    if structures and images.labels is None:
        shown["absent"] = "This pair has no labels, so there are no outlines and no Dice."
    elif len(structures) < len(every):
        shown["absent"] = f"Outlines are of the first {len(structures)} of {len(every)} structures."
    labels = _labels(images, structures)
    voxels = pages * len(rows) * images.fixed.array.size  # of all warped images
    fitting = (quality for quality, each in QUALITIES.items() if each * voxels <= WARPED_AT_MOST)
    quality = next(fitting, min(QUALITIES))
    pictured = None
    for method in shown["methods"]:
        found = _registered(source, method, (moving, fixed), images, structures)
        if found is not None:
            method["volumes"] = _volumes_of(found, images, quality)
            if pictured is None or method["name"] == main:
                pictured, shown["pictured"] = found, method["name"]
    start = _start(images.fixed.array.shape, labels.get("fixed"))
    picture = _picture(images, pictured, labels, start, structures)
    return shown | {"labelled": bool(labels), "start": start, "picture": picture}


def drawn(structures: Structures) -> dict[str, Any]:
    """The structures whose outlines pages have."""
    return dict(list(structures.items())[: pair_volumes.DRAWN])


def _columns(rows: pd.DataFrame, structures: Structures, measures: Sequence[Measure]) -> dict[str, Cell]:
    """Heading -> how a row of the table of pairs fills it; without labels none of the measures by structure."""
    columns: dict[str, Cell] = {}
    for measure in measures:
        if measure.beside or (measure.by_structure and rows[measure.column].isna().all()):
            continue
        columns[measure.title] = partial(table2.value, measure)
        for name in structures if measure is DICE else ():
            columns[name.replace("_", " ")] = partial(table2.dice, DICE.of(name))
    return columns


def _measures(row: Mapping[str, Any], columns: Mapping[str, Cell]) -> dict[str, Any]:
    """A method of a page: its cells of the table of methods; absent: why it has no volumes."""
    folds = row["folds"]
    return {
        "name": row["method"],
        "cells": [cell(row) for cell in columns.values()],
        "dice": DICE.write(row[DICE.column]),
        "folds": None if math.isnan(folds) else int(folds),
        "absent": f"Registration failed: {row['failure']}" if row["failure"] else "",
        "volumes": None,
    }


def _registered(
    source: Source, method: dict[str, Any], pair: tuple[str, str], images: Images, structures: Structures
) -> Registered | None:
    """The result of a method for the pair; None, and noted in the method, where there is none."""
    if method["absent"]:
        return None
    if not source.has_transform(method["name"], *pair):
        method["absent"] = "Its transform was deleted, so there is nothing to look at."
        return None
    try:
        return pair_volumes.register(images, source.transform(method["name"], *pair), structures)
    except UserError as error:
        method["absent"] = source.in_short(error)
        return None


def _labels(images: Images, structures: Structures) -> dict[str, np.ndarray]:
    """The pixels of the moving and the fixed label, each on its image; empty where the pair has none."""
    if not (images.labels and structures):
        return {}
    both = {"moving": images.moving, "fixed": images.fixed}
    return {
        name: label_pixels(label, centres(image.grid), structures)
        for (name, image), label in zip(both.items(), images.labels, strict=True)
    }


def _packed_label(pixels: np.ndarray, spacing: np.ndarray) -> dict[str, Any]:
    volume = pixels[:, :, None] if pixels.ndim == 3 else pixels
    return packed(volume, spacing)


def _start(shape: Sequence[int], label: np.ndarray | None) -> list[int]:
    """The voxel at which a viewer begins: where the fixed label's structures are largest, or the middle."""
    if label is None or not label[..., 0].any():
        return [n // 2 for n in shape]
    inside = label[..., 1] >= 128
    axes = range(len(shape))
    return [int(inside.sum(tuple(other for other in axes if other != axis)).argmax()) for axis in axes]


def _volumes_of(found: Registered, images: Images, quality: int) -> dict[str, Any]:
    """Of a method: its volumes as volumes.js has them; those without anything in them are left out."""
    spacing, jacobian = images.fixed.spacing, to_bytes(found.log_jacobian, *pair_volumes.JACOBIAN)
    volumes = {
        "warped": packed(tiled(to_bytes(found.warped, 0, 1)), spacing, quality),
        "jacobian": packed(tiled(jacobian), 2 * spacing, JACOBIAN_QUALITY),
        "map": _packed_map(found.displacement, STEP * spacing.min()),
    }
    if found.label is not None:
        volumes["label"] = _packed_label(found.label, spacing)
    if found.folded.any():
        volumes["folded"] = packed(tiled(found.folded.astype(np.uint8) * 255), spacing)
    return volumes


def _packed_map(displacement: np.ndarray, step: float) -> dict[str, Any]:
    """Pack a coarse displacement into the three colours of a volume, with the values that 0 and 255 stand for."""
    axes = tuple(range(1, displacement.ndim))
    low = displacement.min(axes)
    high = low + np.maximum(displacement.max(axes) - low, 255 * step)
    channels = [to_bytes(*component) for component in zip(displacement, low, high, strict=True)]
    channels += [np.zeros_like(channels[0])] * (3 - len(channels))
    volume = np.stack([tiled(channel) for channel in channels], axis=-1)
    return packed(volume, [1.0] * 3) | {"low": low.tolist(), "high": high.tolist()}


def _picture(
    images: Images,
    found: Registered | None,
    labels: Mapping[str, np.ndarray],
    start: Sequence[int],
    structures: Structures,
) -> str:
    """The pair by one method as a picture in a data URL; without a method, of the images alone."""
    moving, fixed = np.clip(images.moving.array, 0, 1), np.clip(images.fixed.array, 0, 1)
    panels = [
        {"image": moving, "solid": labels.get("moving")},
        {"image": fixed, "solid": labels.get("fixed")},
    ]
    if found is not None:
        outlines = {"solid": found.label, "dotted": labels.get("fixed")}
        difference = difference_colours(found.warped - fixed)
        panels += [{"image": np.clip(found.warped, 0, 1), **outlines}, {"image": difference, **outlines}]
    colours = list(style.colours_on_grey(list(structures)).values())
    return data_url(draw_picture(panels, tuple(start), images.fixed.spacing, colours), PICTURE_QUALITY)
