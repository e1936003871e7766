"""Table 1's cells: what do triangles and circles at the paper's size give, and how long does a cell take?

The 24 cells of triangles and circles at 128 x 128 pixels with the images, networks and steps of preset `full` in
config/paper.yaml; several at once on the device, each in a process of its own. The paper does not say how many steps it
took, and its learning rates are not known; those of the preset are ours. Results come cell by cell, and a cell that is
cut off goes on from its checkpoint as long as the folder of work is there.
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

from cohortreg.layout import PaperLayout
from cohortreg.learning.devices import use_processor
from cohortreg.learning.fabric import make_fabric
from cohortreg.paper.cells import run_cell
from cohortreg.paper.data import pack_dataset
from cohortreg.paper.plan import SPLITS, Cell, table1_cells

DATASET = "triangles_circles"
#: Cells that are trained at a time.
AT_ONCE = 6
#: Seconds that a cell's process takes to end once it was asked to.
ENDING = 4


def measurements(bench: Bench) -> Iterator[Measurement]:
    """All cells are one measurement to the ladder, since they run together; each is written when it is done."""
    yield Measurement("cells", partial(cells, bench), 60)


def preset(bench: Bench) -> dict:
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
    return found


def cells(bench: Bench) -> dict:
    """A row for each cell."""
    chosen = preset(bench)
    layout = PaperLayout(bench.work / "g")
    if not all(layout.packed_index(DATASET, split).is_file() for split in SPLITS):
        pack_dataset(layout, DATASET, chosen, Path(), bench.seed, lambda: None)
    rows = copy.deepcopy(bench.results.measurements.get("cells", {}).get("cells", []))
    done = {(row["network"], row["lambda"]) for row in rows}
    # Those that take longest first.
    waiting = [c for c in table1_cells({DATASET: chosen["table1"][DATASET]}, chosen["weights"])]
    waiting = [cell for cell in waiting if (cell.network, cell.weight) not in done]
    waiting.sort(key=lambda cell: ["unet", "conv_only", "mlp", "enc_dec"].index(cell.network))
    started, turn = time.perf_counter(), Lock()

    def run(cell: Cell) -> None:
        row = _in_process(bench, layout, chosen, cell)
        with turn:
            rows.append(row)
            bench.results.add(
                "cells", {"at_once": AT_ONCE, "cells": rows}, time.perf_counter() - started, done=False
            )

    with ThreadPoolExecutor(2 if bench.small else AT_ONCE) as threads:
        for each in [threads.submit(run, cell) for cell in waiting]:
            each.result()
    return {"at_once": AT_ONCE, "training_s": sum(row["training_seconds"] for row in rows), "cells": rows}


def _in_process(bench: Bench, layout: PaperLayout, chosen: dict, cell: Cell) -> dict:
    """What a process measured of a cell. Raises OutOfTime where there is no time left, RuntimeError where it fails."""
    if bench.clock.left() < ENDING:
        raise OutOfTime
    given = {"root": str(layout.root), "cell": list(cell), "settings": chosen, "seed": bench.seed}
    command = [sys.executable, __file__, json.dumps(given | {"device": bench.device.type})]
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )
    try:
        _, said = process.communicate(timeout=max(bench.clock.left(), 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise OutOfTime from None
    if process.returncode:
        raise RuntimeError(f"{cell}: {said.strip().splitlines()[-1] if said.strip() else process.returncode}")
    return json.loads(layout.measured(*cell).read_text("utf-8"))


def _one_cell(given: dict) -> None:
    """A cell's own process."""
    from ladder import end_with_parent

    end_with_parent()
    use_processor(1)
    fabric = make_fabric(given["device"], given["settings"]["precision"])
    run_cell(PaperLayout(Path(given["root"])), Cell(*given["cell"]), given["settings"], given["seed"], fabric)


if __name__ == "__main__":
    _one_cell(json.loads(sys.argv[1]))
