"""What a training step of an icon model's stages needs by its tensors' shapes: memory and arithmetic, computed.

python benchmarks/training_memory.py OUTPUT.csv config/oai.yaml

Nothing is allocated: PyTorch's fake tensors have shapes and types alone, and its tracker counts what is alive.
Libraries, the workspace of convolutions, gaps between allocations and the packed training images are not in it. A row
for each stage, precision, and whether activations are computed again: GiB of weights, gradients and Adam's moments,
GiB for each pair that a device computes at a time, and both together for the pairs of the configuration; and the 10^12
operations of a step.
"""

import argparse
import csv
import warnings
from pathlib import Path

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from cohortreg import config as configuration
from cohortreg.config import Configuration, Model
from cohortreg.icon import objective
from cohortreg.icon.networks import recompute_activations
from cohortreg.losses.terms import Batch
from cohortreg.methods.icon import Icon
from cohortreg.provenance import git_commit, software


def to_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace a module's parameters and buffers by fake ones."""
    for part in module.modules():
        for name, tensor in list(part._parameters.items()):
            if tensor is not None:
                part._parameters[name] = nn.Parameter(mode.from_tensor(tensor.detach()))
        for name, tensor in list(part._buffers.items()):
            if tensor is not None:
                part._buffers[name] = mode.from_tensor(tensor)


def step(model: Model, grid: list[int], pairs: int, precision: str, recompute: bool) -> tuple[float, float]:
    """Peak GiB of the second training step on that many pairs, and its 10^12 operations."""
    registration, before = Icon.build(model, grid)
    objective = Icon.objective(registration, before, model).train()
    if recompute:
        recompute_activations(objective)
    frozen = set() if before is None else set(before.modules())
    if before is not None:
        # Instead of parameters without gradients, which the tracker does not take.
        before.forward = torch.no_grad()(before.forward)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    to_fake(objective, mode)
    trained = [p for part in objective.modules() if part not in frozen for p in part._parameters.values()]
    with mode:
        optimizer = torch.optim.Adam([p for p in trained if p is not None])
        images = torch.rand(pairs, 1, *grid), torch.rand(pairs, 1, *grid)
        whole = torch.tensor([[0] * len(grid), grid]).expand(pairs, 2, -1)
        tracker, flops = MemTracker(), FlopCounterMode(display=False)
        tracker.track_external(objective, optimizer, *images)
        for again in (False, True):
            with tracker, flops:
                if again:
                    tracker.reset_mod_stats()
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
                    terms = objective(Batch(*images, whole, whole, torch.Generator()))
                optimizer.zero_grad()
                (terms.similarity + terms.inverse_consistency).backward()
                optimizer.step()
    peak = sum(snapshot["Total"] for snapshot in tracker.get_tracker_snapshot("peak").values())
    return peak / 2**30, flops.get_total_flops() / 1e12


def rows_of(model: Model, config: Configuration) -> list[dict]:
    """A row for each stage, precision, and whether activations are computed again."""
    grid, training = config.preprocess.grid, config.training
    rows = []
    for number in range(1, 1 + len(model.stages)):
        part = model.up_to(number)
        batch = part.stages[-1].batch_size
        share = batch // (training.devices * training.nodes * training.accumulate)
        for precision, recompute in [("bf16-mixed", False), ("32-true", False), ("bf16-mixed", True)]:
            one, two = (step(part, grid, pairs, precision, recompute) for pairs in (1, 2))
            row = {"stage": number, "precision": precision, "recompute": recompute}
            row |= {"gib_fixed": round(2 * one[0] - two[0], 2), "gib_a_pair": round(two[0] - one[0], 2)}
            row |= {"pairs": share, "gib": round(one[0] + (share - 1) * (two[0] - one[0]), 1)}
            row |= {"batch_size": batch, "teraflop_a_step": round(one[1] * batch, 1)}
            rows.append(row)
            print(row, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("configuration", type=Path)
    parser.add_argument("--model", default="icon")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    config = configuration.load(given.configuration)
    # Which points are drawn changes no shape, and fake tensors have no values to draw by.
    objective.sample_points = lambda shape, stride, generator, like: torch.rand(
        1, len(shape), *[-(-size // stride) for size in shape]
    )
    facts = {"torch": software()["torch"], "git_commit": git_commit()}
    rows = [row | facts for row in rows_of(config.models[given.model], config)]
    with given.output.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
