"""Memory and speed of the paper's model: what do registration and training take, beside the authors' package?

The four-step model of OAI knees at 80 x 192 x 192 voxels with random weights, the same on both sides, which take turns:
registration of one direction, and a training step of each stage with the stages before it frozen, in batches of 1, 2
and 4 pairs. Then our side alone: activations computed again, the pairs that the configuration gives a device at a time,
cuDNN's own search for algorithms, and networks compiled. Seconds are medians, GiB the peak of what tensors take. The
share of the device's rate is that of a product of large matrices in the same precision, measured in the same run, over
the arithmetic of convolutions and products; the traffic is what all operations would read and write if none were fused,
beside that of a large copy.
Goals: registration 0.4 of the package's time, a training step 0.5.
"""

import copy
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

import torch
from bench import Bench, Measurement, allocated, counted, forget, memory, rates, summary, tf32, timed
from icon_speed import FOUR_STEPS, NETWORK, images, import_peer, our_registration, their_registration
from torch import nn

from cohortreg.config import read_steps
from cohortreg.icon.networks import recompute_activations
from cohortreg.icon.objective import StageObjective
from cohortreg.icon.stages import at_resolution
from cohortreg.icon.steps import DisplacementNetwork, halve
from cohortreg.learning.fabric import make_fabric
from cohortreg.losses.terms import Batch
from cohortreg.methods.icon import for_registration

GRID, SMALL_GRID = (80, 192, 192), (16, 32, 32)
SMALL_NETWORK = {"architecture": "unet", "down": [2, 4, 8, 16], "up": [4, 8, 8]}
#: Pairs that config/oai.yaml gives a device at a time in the first stage; in the others 4.
SHARE = 32
#: Options of ours.
SEARCH, COMPILED = "cuDNN's search", "compiled"
#: What the ratio of our seconds to the package's is to reach.
GOALS = {"registration": 0.4, "training": 0.5}


#: Repetitions at most, and seconds of them in all beyond which there are fewer.
MOST, LONG = 9, 4


@dataclass(frozen=True)
class Work:
    """One piece of work.

    stage: of a training step, from 1; 0: registration. precision: ours; theirs: the package's, None to leave it out.
    exact: whether TF32 is off on both sides. again: whether activations are computed again. option: of ours.
    """

    stage: int
    pairs: int
    precision: str
    theirs: str | None = None
    exact: bool = False
    again: bool = False
    option: str = ""

    @property
    def name(self) -> str:
        work = f"training step of stage {self.stage}" if self.stage else "registration"
        words = [work, f"{self.pairs} pairs" if self.pairs > 1 else "1 pair", self.precision]
        words += [f"beside {self.theirs}"] if self.theirs else []
        words += ["without TF32"] if self.exact else []
        words += ["activations again"] if self.again else []
        return ", ".join(words + ([self.option] if self.option else []))


def works(small: bool) -> Iterator[tuple[Work, float]]:
    """All pieces of work, those that say most first, and the seconds that each may take."""
    for precision, theirs in (
        ("bf16-mixed", "bf16-mixed"),
        ("32-true", "32-true"),
        ("bf16-mixed", "32-true"),
    ):
        yield Work(0, 1, precision, theirs), 4
    for precision in ("bf16-mixed", "32-true"):
        for stage in (1, 2, 3):
            yield Work(stage, 1, precision, precision), 4
    for pairs in (2, 4)[: 1 if small else 2]:
        yield Work(0, pairs, "bf16-mixed", "bf16-mixed"), 4
        for stage in (1, 2, 3):
            yield Work(stage, pairs, "bf16-mixed", "bf16-mixed"), 5
    for stage in (1, 2, 3):
        for pairs in (1,) if small else (1, 2, 4):
            yield Work(stage, pairs, "bf16-mixed", again=True), 3
    if not small:
        for again in (False, True):
            yield Work(1, SHARE, "bf16-mixed", again=again), 5
    yield Work(0, 1, "32-true", "32-true", exact=True), 4
    yield Work(3, 1, "32-true", "32-true", exact=True), 4
    yield Work(0, 1, "bf16-mixed", option=SEARCH), 10
    yield Work(3, 2, "bf16-mixed", option=SEARCH), 20
    if small:  # to compile takes long, whatever the size
        yield Work(1, 1, "bf16-mixed", option=COMPILED), 0
        return
    yield Work(0, 1, "bf16-mixed", option=COMPILED), 45
    yield Work(3, 2, "bf16-mixed", option=COMPILED), 90


def measurements(bench: Bench) -> Iterator[Measurement]:
    # Of every run, since no two machines are the same.
    yield Measurement(_rates_key(bench), partial(rates, bench.device, bench.small), 4)
    for work, seconds in works(bench.small):
        yield Measurement(work.name, partial(beside, bench, work), seconds)


def _rates_key(bench: Bench) -> str:
    return f"rates in the run of {bench.run}"


def grid_of(bench: Bench) -> tuple[int, ...]:
    return SMALL_GRID if bench.small else GRID


@cache
def _made(make: Callable[..., tuple], small: bool, stages: int) -> tuple[nn.Module, nn.Module | None]:
    grid, network = (SMALL_GRID, SMALL_NETWORK) if small else (GRID, NETWORK)
    return make(FOUR_STEPS[:stages], grid, network)


def copied(make: Callable[..., tuple], small: bool, stages: int) -> tuple[nn.Module, nn.Module | None]:
    """What `our_registration` or `their_registration` makes of so many stages; drawing the weights takes seconds."""
    return copy.deepcopy(_made(make, small, stages))


def our_work(bench: Bench, work: Work) -> Callable[[], object]:
    """What one repetition is on our side."""
    grid, stages = grid_of(bench), FOUR_STEPS[: work.stage or 3]
    registration, before = copied(our_registration, bench.small, work.stage or 3)
    fabric = make_fabric(bench.device.type, work.precision)
    moving, fixed = (each.to(bench.device) for each in images(work.pairs, grid).split(work.pairs))
    if work.option == COMPILED:
        for step in registration.modules():
            if isinstance(step, DisplacementNetwork):
                step.network.compile(backend="inductor" if bench.cuda else "eager")
    if not work.stage:
        full = at_resolution(registration, read_steps(stages)[-1].downsample, 1)
        registration = for_registration(full, fabric)
        return torch.inference_mode()(lambda: registration(moving, fixed).on_grid(grid))
    objective = StageObjective(registration, before, stages[-1]["downsample"])
    if work.again:
        recompute_activations(objective)
    return _our_step(fabric, objective, moving, fixed)


def _our_step(fabric, objective: StageObjective, moving: torch.Tensor, fixed: torch.Tensor):
    trained = [p for p in objective.parameters() if p.requires_grad]
    module, optimizer = fabric.setup(objective, torch.optim.Adam(trained, lr=1e-4, fused=True))
    module.train()
    whole = torch.tensor([[0] * 3, list(moving.shape[2:])], device=moving.device).repeat(len(moving), 1, 1)
    generator = torch.Generator().manual_seed(2)

    def step() -> float:
        similarity, inverse_consistency, _ = module(Batch(moving, fixed, whole, whole, generator))
        loss = similarity + 100 * inverse_consistency
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def their_work(bench: Bench, work: Work) -> Callable[[], object]:
    """What one repetition is in the authors' package."""
    peer = import_peer()
    grid, stages = grid_of(bench), FOUR_STEPS[: work.stage or 3]
    registration, before = copied(their_registration, bench.small, work.stage or 3)
    moving, fixed = (each.to(bench.device) for each in images(work.pairs, grid).split(work.pairs))
    half = torch.autocast(bench.device.type, torch.bfloat16, enabled=work.theirs == "bf16-mixed")
    if not work.stage:
        registration.assign_identity_map([work.pairs, 1, *grid])
        registration.to(bench.device).eval()

        @torch.no_grad()
        def register() -> torch.Tensor:
            with half:
                return registration(moving, fixed)(registration.identity_map)

        return register
    for _ in range(round(math.log2(stages[-1]["downsample"]))):
        moving, fixed = halve(moving), halve(fixed)
    return _their_step(bench, peer, registration, before, moving, fixed, half)


def _their_step(bench: Bench, peer, registration: nn.Module, before: nn.Module | None, moving, fixed, half):
    if before is not None:
        before.requires_grad_(False)
    model = peer.InverseConsistentNet(registration, peer.SSD(), 100)
    model.assign_identity_map(list(moving.shape))
    model.to(bench.device).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> float:
        optimizer.zero_grad()
        with half:
            loss = model(moving, fixed)
        loss.all_loss.backward()
        optimizer.step()
        return peer.losses.to_floats(loss).all_loss

    return step


@contextmanager
def _options(work: Work) -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = work.option == SEARCH
    try:
        # PyTorch's own choice otherwise: convolutions in TF32, products of matrices not.
        if work.exact:
            with tf32(False):
                yield
        else:
            yield
    finally:
        torch.backends.cudnn.benchmark = before


def repetitions(bench: Bench, seconds: float) -> int:
    """How often something is repeated that takes so many seconds: three times at least, unless small."""
    return 1 if bench.small else max(3, min(MOST, round(LONG / seconds)))


def beside(bench: Bench, work: Work) -> dict:
    """Seconds and memory of a piece of work, ours and the package's in turn, and its share of the device's rates."""
    with _options(work):
        lying = allocated(bench.device)
        ours = our_work(bench, work)
        timed(ours, bench.device, 0, warm_up=2)
        with memory(bench.device, lying) as own:
            ours()
        # The arithmetic of compiled code cannot be counted; it is that of the same work without.
        counts = counted(ours) if work.option != COMPILED else {}
        if work.theirs is None:
            seconds = timed(ours, bench.device, 1, 0)
            seconds += timed(ours, bench.device, repetitions(bench, seconds[0]) - 1, 0)
            return _row(bench, work, summary(seconds), own, counts)
        forget(bench.device)
        lying = allocated(bench.device)
        theirs = their_work(bench, work)
        timed(theirs, bench.device, 0, warm_up=2)
        with memory(bench.device, lying) as package:
            theirs()
        apart = {} if work.stage else {"voxels_apart": voxels_apart(ours(), theirs())}

        def turn() -> list[float]:
            return [*timed(ours, bench.device, 1, 0), *timed(theirs, bench.device, 1, 0)]

        turns = [turn()]
        turns += [turn() for _ in range(repetitions(bench, sum(turns[0])) - 1)]
    own_seconds, package_seconds = zip(*turns, strict=True)
    row = _row(bench, work, summary(list(own_seconds)), own, counts)
    ratio = statistics.median(own_seconds) / statistics.median(package_seconds)
    row |= {"package_median_s": statistics.median(package_seconds), "package_least_s": min(package_seconds)}
    row |= {f"package_{name}": value for name, value in package.items()}
    return row | apart | {"ratio": ratio, "goal": GOALS["training" if work.stage else "registration"]}


def voxels_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean distance of two maps [batch, dim, *grid]."""
    size = torch.tensor(one.shape[2:], device=one.device).reshape(1, -1, *[1] * (one.dim() - 2)) - 1
    return ((one.float() - other.float()) * size).norm(dim=1).mean().item()


def _row(bench: Bench, work: Work, seconds: dict, own: dict, counts: dict) -> dict:
    """What was measured, and which share of the device's rates it is."""
    row = {"pairs": work.pairs, "precision": work.precision, **seconds, **own, **counts}
    found = bench.results.measurements.get(_rates_key(bench), {})
    if counts and "copy_gb_s" in found:
        tf32_convolutions = bench.cuda and not work.exact
        rate = "bfloat16" if work.precision == "bf16-mixed" else "tf32" if tf32_convolutions else "float32"
        row["share_of_rate"] = counts["teraflop"] / seconds["median_s"] / found[f"{rate}_tflop_s"]
        row["traffic_of_copy"] = counts["traffic_gb"] / seconds["median_s"] / found["copy_gb_s"]
    return row
