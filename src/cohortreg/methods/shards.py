"""Registration of a shard of pairs by one method: a model is loaded once, whole results are kept."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from lightning_fabric import Fabric

from cohortreg.files import digest, digest_file, read_json, whole, write_json
from cohortreg.images.io import Image, read_image
from cohortreg.layout import Layout
from cohortreg.maps.transforms import Grid, to_physical, write_transform
from cohortreg.methods.interface import Method
from cohortreg.methods.registry import open_method
from cohortreg.provenance import hardware


def register_shard(
    layout: Layout,
    name: str,
    pairs: pd.DataFrame,
    shard: int,
    seed: int,
    fabric: Fabric,
    progress: Callable[[str], None],
    pretrained: Path | None = None,
    optimisation: dict | None = None,
) -> None:
    """Register each pair that has no up-to-date transforms yet, then write the shard's table of times.

    pretrained, optimisation: see `open_method`.
    """
    method = open_method(name, layout, seed, fabric, pretrained, optimisation)
    rows = []
    for moving, fixed in pairs[["moving", "fixed"]].itertuples(index=False):
        made_from = digest(method.version, *(digest_file(layout.image(image)) for image in (moving, fixed)))
        record_path = layout.registration_record(name, moving, fixed)
        record = read_json(record_path) if record_path.is_file() else {}
        if record.get("made_from") != made_from:
            record = _register(layout, name, method, moving, fixed, fabric) | {"made_from": made_from}
            write_json(record_path, record)
        rows.append(
            {"moving": moving, "fixed": fixed, "time_s": record["time_s"], "hardware": record["hardware"]}
        )
        progress(f"{moving} to {fixed}")
    with whole(layout.registered_shard(name, shard)) as beside:
        pd.DataFrame(rows, columns=["moving", "fixed", "time_s", "hardware"]).to_csv(beside, index=False)


def _register(
    layout: Layout, name: str, method: Method, moving_id: str, fixed_id: str, fabric: Fabric
) -> dict:
    """Register one pair and write its transforms; how long the method took, without reading and writing."""
    moving, fixed = (_preprocessed(layout, image_id) for image_id in (moving_id, fixed_id))
    started = time.perf_counter()
    # The result is in the processor's memory, so an accelerator has finished when the call returns.
    registration = method(moving, fixed)
    seconds = time.perf_counter() - started
    moving_grid, fixed_grid = _grid(moving), _grid(fixed)
    write_transform(
        layout.forward(name, moving_id, fixed_id), to_physical(registration.forward, moving_grid, fixed_grid)
    )
    if registration.inverse is not None:
        inverse = to_physical(registration.inverse, fixed_grid, moving_grid)
        write_transform(layout.inverse(name, moving_id, fixed_id), inverse)
    return {"time_s": seconds, "hardware": hardware(fabric.device.type)}


def _preprocessed(layout: Layout, image_id: str) -> Image:
    """An image on the cohort's grid, and what of it was imaged."""
    field_of_view = read_json(layout.sidecar(image_id))["field_of_view"]
    return replace(read_image(layout.image(image_id)), field_of_view=field_of_view)


def _grid(image: Image) -> Grid:
    return Grid(image.array.shape, image.affine)
