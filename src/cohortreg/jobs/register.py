"""Registration of a shard of pairs by one method: a model is loaded once, whole results are kept."""

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from cohortreg.cohort.tables import pair_ids, read_table
from cohortreg.config import FITTED, OPTIMISED, Optimisation
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.files import sealed, whole, write_sealed
from cohortreg.images.image import Image
from cohortreg.images.io import read_image
from cohortreg.jobs.registered import DIRECTIONS, IDS, in_cohort, registration, seals
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.learning.devices import Device
from cohortreg.maps.coded import write_coded
from cohortreg.maps.transforms import to_physical
from cohortreg.methods.cards import read_card
from cohortreg.methods.interface import Method, Registration, timed
from cohortreg.methods.opening import open_method
from cohortreg.methods.programs import last_line, machine_fault
from cohortreg.methods.registry import PAIRWISE
from cohortreg.provenance import running

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

COLUMNS = ["moving", "fixed", "time_s", "hardware", "failure"]


def pairs_of(layout: Layout, shard: int) -> pd.DataFrame:
    """Read the cohort's pairs in a shard, columns moving and fixed.

    Raises:
        UserError: There is no such shard.
    """
    path = layout.pair_shard(shard)
    if not path.is_file():
        raise UserError(f"{path}: no such shard of pairs; run cohortreg cohort first")
    pairs = read_table(path, IDS, "`cohortreg cohort`")[IDS]
    running().reads(path)
    return in_cohort(layout, pairs)


@dataclass
class PairInWork:
    """A pair on its way: read, registered, written.

    Attributes:
        ids: Of the moving and the fixed image.
        made_from: A digest of the method and the images.
        record: What is known of the registration, once there is one.
        images: Moving and fixed, where the pair is to be registered.
        registration: Its result.
    """

    ids: tuple[str, str]
    made_from: str
    record: dict[str, Any]
    images: tuple[Image, Image] | None = None
    registration: Registration | None = None


def register_shard(
    layout: Layout,
    name: str,
    method: Method,
    pairs: pd.DataFrame,
    shard: int,
    hardware: str,
    progress: Callable[[str], None],
) -> None:
    """Register each pair that has no up-to-date transforms yet, then write the shard's table of times.

    A pair that the method cannot register has the reason as its `failure` and no time; it is tried again when the shard
    is. One whose transforms were deleted after they were evaluated is not registered again; one whose transforms are
    not those of its record, or were cut short, is. While a pair is registered, the next one is read and the one before
    is written.

    Args:
        name: The method's row.
        hardware: That the method runs on, in words.
        progress: Called after each pair with a sentence on why it failed, or "".

    Raises:
        UserError: What a pair is made from cannot be read.
        OSError: The machine fails, as for all that `machine_fault` knows.
    """
    digest_once = cache(running().reads)

    def read(ids: tuple[str, str]) -> PairInWork:
        """A pair with its images, or with its record alone where its transforms are up to date."""
        made_from = digest(method.version, *(digest_once(layout.image(image)) for image in ids))
        record = registration(layout, name, *ids)
        same = record.get("made_from") == made_from and not record.get("failure")
        if same and _kept(layout, name, ids, record):
            return PairInWork(ids, made_from, record)
        moving, fixed = (_preprocessed(layout, image) for image in ids)
        return PairInWork(ids, made_from, {}, (moving, fixed))

    rows = []
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        registered = (_register(method, pair, hardware) for pair in _ahead(reader, read, pair_ids(pairs)))
        for pair in _ahead(writer, partial(_write, layout, name), registered):
            rows.append(dict(zip(IDS, pair.ids, strict=True)) | pair.record)
            failure = pair.record.get("failure")
            progress(f"{' to '.join(pair.ids)} could not be registered: {failure}" if failure else "")
    path = layout.registered_shard(name, shard)
    with sealed(path), whole(path) as beside:
        pd.DataFrame(rows, columns=COLUMNS).to_csv(beside, index=False)


def _kept(layout: Layout, name: str, ids: tuple[str, str], record: dict[str, Any]) -> bool:
    """Whether a pair's results exist: the fields that its record names, or their measures."""
    there, written = seals(layout, name, *ids), record.get("seals", {})
    if any(written.get(direction, seal) != seal for direction, seal in there.items()):
        return False
    return {"forward", *written} <= set(there) or layout.evaluated_pair(name, *ids).is_file()


def _ahead(
    executor: Executor, function: Callable[[_Item], _Result], items: Iterable[_Item]
) -> Iterator[_Result]:
    """Map a function over items in order, while another thread computes the next result."""
    coming: deque[Future[_Result]] = deque()
    for item in items:
        coming.append(executor.submit(function, item))
        if len(coming) > 1:
            yield coming.popleft().result()
    for last in coming:
        yield last.result()


def _register(method: Method, pair: PairInWork, hardware: str) -> PairInWork:
    """Register a pair that was read for it, and note how long the method took."""
    if pair.images is None:
        return pair
    pair.record = {"hardware": hardware, "made_from": pair.made_from}
    try:
        pair.registration, pair.record["time_s"] = timed(method, *pair.images)
    except Exception as error:  # also of a library, or of a method of the user's own
        if machine_fault(error):  # no other pair would do better, and this one does elsewhere
            if isinstance(error, (OSError, MemoryError)):
                raise
            raise UserError(
                f"{' to '.join(pair.ids)}: {last_line(str(error))}; a fault of the machine, not of "
                "the pair: fix it and run again; finished pairs are kept."
            ) from error
        if isinstance(error, UserError):
            pair.record["failure"] = " ".join(str(error).split())  # a cell of a table
        else:
            traceback.print_exc()  # to the log
            pair.record["failure"] = f"{type(error).__name__}: {last_line(str(error))}"
    return pair


def _write(layout: Layout, name: str, pair: PairInWork) -> PairInWork:
    """Write a new registration and then its record; of one that failed, the record alone is there."""
    if pair.images is None:
        return pair
    # First, so that what is there with a record is what the record says, wherever this is interrupted.
    layout.registration_record(name, *pair.ids).unlink(missing_ok=True)
    moving, fixed = (image.grid for image in pair.images)
    found = pair.registration
    for direction, grids in zip(DIRECTIONS, ((moving, fixed), (fixed, moving)), strict=True):
        path, phi = getattr(layout, direction)(name, *pair.ids), getattr(found, direction, None)
        layout.before(path).unlink(missing_ok=True)
        if phi is None:
            path.unlink(missing_ok=True)
        else:
            write_coded(path, to_physical(phi, *grids))
    if found is not None:
        pair.record["seals"] = seals(layout, name, *pair.ids)
    write_sealed(layout.registration_record(name, *pair.ids), pair.record)
    return pair


def _preprocessed(layout: Layout, image_id: str) -> Image:
    """An image on the cohort's grid, and what of it was imaged."""
    image = read_image(layout.image(image_id))
    return replace(image, field_of_view=read_sidecar(layout, image_id)["field_of_view"])


def open_row(
    row: str,
    layout: Layout,
    seed: int,
    threads: int,
    device: Device | None = None,
    settings: Mapping[str, Any] | None = None,
    model: str | None = None,
    optimisation: Optimisation | None = None,
) -> Method:
    """Open the method of a row of the tables, ready to register.

    Args:
        seed: See `open_method`, as for `threads`, `device` and `optimisation`.
        settings: Of a method without training, or of the fit that refines the row's maps.
        model: The folder of the imported model or of the trained stage that the row stands for; without it, the stage
            is looked for among those that are trained.

    Raises:
        UserError: There is no such row, or what `open_method` refuses.
    """
    settings, name = settings or {}, row.removesuffix(FITTED)
    if row in PAIRWISE:
        return open_method(row, settings, f"method_settings.{row}", seed, threads, device)
    folder = model or _trained_folder(layout, name.removesuffix(OPTIMISED))
    if folder is None or name in PAIRWISE:
        known = ", ".join(PAIRWISE.names())
        raise UserError(
            f"{row}: no such method; there are {known}, and a row for each trained stage of a model"
        )
    fit, where = row.endswith(FITTED), "method_settings.fit"
    return open_method(Path(folder), settings, where, seed, threads, device, optimisation, fit)


def _trained_folder(layout: Layout, row: str) -> Path | None:
    """Folder of the trained stage that a row stands for; None where no stage does."""
    for path in sorted(layout.root.glob("models/*/stage-*/model.json"), reverse=True):
        card = read_card(path.parent)
        if row == (f"{card.model}-{card.steps}step" if card.is_icon else card.model):
            return path.parent
    return None
