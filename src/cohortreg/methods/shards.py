"""Registration of a shard of pairs by one method: a model is loaded once, whole results are kept."""

import time
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from cohortreg.errors import UserError
from cohortreg.files import digest, digest_file, read_json, whole, write_json
from cohortreg.images.io import Image, read_image
from cohortreg.layout import Layout
from cohortreg.maps.transforms import Grid, to_physical, write_transform
from cohortreg.methods.interface import Method
from cohortreg.provenance import hardware

COLUMNS = ["moving", "fixed", "time_s", "hardware", "failure"]


def pairs_of(layout: Layout, shard: int) -> pd.DataFrame:
    """The pairs of a shard, columns moving and fixed. Raises UserError where the cohort has no such shard."""
    path = layout.pair_shard(shard)
    if not path.is_file():
        raise UserError(f"{path}: no such shard of pairs; run cohortreg cohort first")
    digest_file(path)  # notes it as what the results come from
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)[["moving", "fixed"]]


def register_shard(
    layout: Layout,
    name: str,
    method: Method,
    pairs: pd.DataFrame,
    shard: int,
    device: str,
    progress: Callable[[str], None],
) -> None:
    """Register each pair that has no up-to-date transforms yet, then write the shard's table of times.

    name: the method's row. device: the kind that it runs on, such as "cpu". A pair that the method cannot register
    has the reason as its `failure` and no time; it is tried again when the shard is.
    """
    rows = []
    for moving, fixed in pairs[["moving", "fixed"]].itertuples(index=False):
        made_from = digest(method.version, *(digest_file(layout.image(image)) for image in (moving, fixed)))
        record_path = layout.registration_record(name, moving, fixed)
        record = read_json(record_path) if record_path.is_file() else {}
        if record.get("made_from") != made_from or record.get("failure"):
            record = _register(layout, name, method, moving, fixed, device) | {"made_from": made_from}
            write_json(record_path, record)
        rows.append({"moving": moving, "fixed": fixed, **record})
        said = record.get("failure")
        progress(f"{moving} to {fixed} could not be registered: {said}" if said else "")
    with whole(layout.registered_shard(name, shard)) as beside:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(beside, index=False)


def _register(layout: Layout, name: str, method: Method, moving_id: str, fixed_id: str, device: str) -> dict:
    """Register one pair and write its transforms; how long the method took, without reading and writing."""
    moving, fixed = (_preprocessed(layout, image_id) for image_id in (moving_id, fixed_id))
    forward, inverse = (path(name, moving_id, fixed_id) for path in (layout.forward, layout.inverse))
    started = time.perf_counter()
    try:
        # The result is in the processor's memory, so an accelerator has finished when the call returns.
        registration = method(moving, fixed)
    except UserError as error:
        for path in (forward, inverse):
            path.unlink(missing_ok=True)
        return {"failure": str(error), "hardware": hardware(device)}
    seconds = time.perf_counter() - started
    moving_grid, fixed_grid = _grid(moving), _grid(fixed)
    write_transform(forward, to_physical(registration.forward, moving_grid, fixed_grid))
    if registration.inverse is not None:
        write_transform(inverse, to_physical(registration.inverse, fixed_grid, moving_grid))
    return {"time_s": seconds, "hardware": hardware(device)}


def _preprocessed(layout: Layout, image_id: str) -> Image:
    """An image on the cohort's grid, and what of it was imaged."""
    field_of_view = read_json(layout.sidecar(image_id))["field_of_view"]
    return replace(read_image(layout.image(image_id)), field_of_view=field_of_view)


def _grid(image: Image) -> Grid:
    return Grid(image.array.shape, image.affine)
