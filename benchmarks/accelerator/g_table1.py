"""Table 1's cells: what do triangles and circles at the paper's size give, and how long does a cell take?

The 24 cells of triangles and circles at 128 x 128 pixels with the images, networks and steps of preset `full` in
workflow/paper/config.yaml; several at once on the device, each in a process of its own. The paper does not say how many
steps it took, and its learning rates are not known; those of the preset are ours. Results come cell by cell, and a cell
that is cut off goes on from its checkpoint as long as the folder of work is there.
"""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock

from a_works import NETWORKS
from bench import Bench, Measurement
from data import settings
from records import OutOfTime

from cohortreg.files import write_json
from cohortreg.layout import PaperLayout
from cohortreg.learning.checkpoints import TrainingState
from cohortreg.learning.devices import use_processor
from cohortreg.learning.fabric import make_fabric
from cohortreg.paper.cells import run_cell
from cohortreg.paper.data import pack_dataset
from cohortreg.paper.plan import SPLITS, Cell, table1_cells
from cohortreg.paper.settings import Preset

DATASET = "triangles_circles"
#: Cells that are trained at a time: few enough that some are done before a machine has to be given back.
AT_ONCE = 3
#: Networks, those first that were expected to take the least time.
ORDER = ("mlp", "enc_dec", "conv_only", "unet")
#: Steps between two notes of how far a cell is.
NOTED = 50
#: Seconds that a cell's process takes to end once it was asked to.
ENDING = 4


def measurements(bench: Bench) -> Iterator[Measurement]:
    """All cells are one measurement to the ladder, since they run together; each is written when it is done."""
    yield Measurement("cells", partial(cells, bench), 20, watched=False)


def preset(bench: Bench) -> Preset:
    """The preset's settings; small, of seconds."""
    found = copy.deepcopy(settings(bench.packed, "table1"))
    if bench.small:
        found |= {
            "size": 16,
            "train_images": 8,
            "test_images": 6,
            "pairs": 4,
            "weights": found["weights"][:1],
        }
        for name, network in found["networks"].items():
            network |= {k: v for k, v in NETWORKS[name].items() if k != "architecture"}
            network |= {"training_steps": 2, "batch_size": 2}
    return Preset.read(found)


def cells(bench: Bench) -> dict:
    """A row for each cell."""
    chosen = preset(bench)
    layout = PaperLayout(bench.work / "g")
    if not all(layout.packed_index(DATASET, split).is_file() for split in SPLITS):
        pack_dataset(layout, DATASET, chosen, Path(), bench.seed, lambda: None)
    rows = copy.deepcopy(bench.results.measurements.get("cells", {}).get("cells", []))
    done = {(row["network"], row["lambda"]) for row in rows}
    waiting = [c for c in table1_cells({DATASET: getattr(chosen.table1, DATASET)}, chosen.weights)]
    waiting = [cell for cell in waiting if (cell.network, cell.weight) not in done]
    waiting.sort(key=lambda cell: ORDER.index(cell.network))
    started, turn = time.perf_counter(), Lock()

    def keep(**more: object) -> None:
        values = {"at_once": AT_ONCE, "cells": rows, **more}
        bench.results.add("cells", values, time.perf_counter() - started, done=False)

    def run(cell: Cell) -> bool:
        row = _in_process(bench, layout, chosen, cell)
        if row is not None:
            with turn:
                rows.append(row)
                keep()
        return row is not None

    with ThreadPoolExecutor(2 if bench.small else AT_ONCE) as threads:
        ended = [each.result() for each in [threads.submit(run, cell) for cell in waiting]]
    if not all(ended):
        far = [_how_far(layout, cell) for cell in waiting]
        keep(cut_off=[each for each in far if each])
        raise OutOfTime
    return {"at_once": AT_ONCE, "training_s": sum(row["training_seconds"] for row in rows), "cells": rows}


def _progress(layout: PaperLayout, cell: Cell) -> Path:
    return layout.cell(*cell) / "progress.json"


def _how_far(layout: PaperLayout, cell: Cell) -> dict:
    """How far a cell is that was cut off, and its steps a second; empty where it was not begun, or is done."""
    path = _progress(layout, cell)
    if not path.is_file() or layout.measured(*cell).is_file():
        return {}
    return {"network": cell.network, "lambda": cell.weight, **json.loads(path.read_text("utf-8"))}


def _in_process(bench: Bench, layout: PaperLayout, chosen: Preset, cell: Cell) -> dict | None:
    """What a process measured of a cell; None where the time ended before it. Raises RuntimeError where it fails."""
    if bench.clock.left() < ENDING:
        return None
    given = {"root": str(layout.root), "cell": list(cell), "settings": chosen.plain(), "seed": bench.seed}
    command = [
        sys.executable,
        __file__,
        json.dumps(given | {"device": bench.device.type, "parent": os.getpid()}),
    ]
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    try:
        _, said = process.communicate(timeout=max(bench.clock.left(), 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    if process.returncode:
        raise RuntimeError(f"{cell}: {said.strip().splitlines()[-1] if said.strip() else process.returncode}")
    return json.loads(layout.measured(*cell).read_text("utf-8"))


def _one_cell(given: dict) -> None:
    """A cell's own process."""
    from ladder import end_with_parent

    end_with_parent(given["parent"])
    use_processor(1)
    chosen = Preset.read(given["settings"])
    fabric = make_fabric(given["device"], chosen.precision)
    layout, cell = PaperLayout(Path(given["root"])), Cell(*given["cell"])
    first: list[tuple[int, float]] = []

    def note(state: TrainingState) -> None:
        if not first:
            first.append((state.step, time.perf_counter()))
        if state.step % NOTED == 0 and state.step > first[0][0]:
            rate = (state.step - first[0][0]) / (time.perf_counter() - first[0][1])
            write_json(_progress(layout, cell), {"step": state.step, "steps_per_second": rate})

    run_cell(layout, cell, chosen, given["seed"], fabric, note)


if __name__ == "__main__":
    _one_cell(json.loads(sys.argv[1]))
