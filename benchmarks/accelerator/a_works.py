"""Does it work: does this device compute what the processor does, and train in every precision?

Golden tensors of the authors' package with and without TF32, all similarities, folds and composition beside the
processor, a short training of each architecture in each precision, a training that is stopped and resumed, and two
processes on one device.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench import Bench, Measurement, tf32
from data import Cohort, read
from safetensors.torch import load_file
from torch import Tensor, nn

from cohortreg.config import SIMILARITIES, IconModel, IconStage, Stage, read_network, read_steps
from cohortreg.icon.networks import UNet
from cohortreg.icon.objective import REGULARITIES, icon_loss, inverse_consistency, sample_points
from cohortreg.icon.stages import build_network, build_registration
from cohortreg.learning.data import TrainingImages
from cohortreg.learning.devices import Device
from cohortreg.learning.fabric import make_fabric
from cohortreg.learning.training import train
from cohortreg.losses.fields_of_view import within
from cohortreg.losses.similarities import make_similarity, similarity_to
from cohortreg.maps.fields import AffineMap, Composition, DisplacementField
from cohortreg.maps.grids import identity_map, interpolate, resize
from cohortreg.maps.jacobian import folds, volume_form
from cohortreg.maps.separable import smoothed
from cohortreg.maps.velocity import MultiGaussian, flow
from cohortreg.methods.icon import Icon

NETWORKS = {
    "mlp": {"architecture": "mlp", "hidden": [64, 32]},
    "enc_dec": {"architecture": "enc_dec", "down": [2, 8, 16, 16], "up": [16, 16, 16]},
    "conv_only": {"architecture": "conv_only", "channels": 4, "layers": 4},
    "unet": {"architecture": "unet", "down": [2, 8, 16, 32], "up": [8, 16, 16]},
    "dual_stream": {"architecture": "dual_stream", "down": [1, 8, 16], "up": [8, 8], "finest": 1, "smoothing": 0.75},
}  # fmt: skip
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")

#: Of the authors' package, by the names of their tensors' first parts, and ours.
THEIR_LAYERS = {
    "downConvs": "down",
    "upConvs": "up",
    "batchNorms": "norm",
    "lastConv": "last",
    "dense1": "first",
    "dense2": "second",
    "dense3": "last",
    "conv6": "last",
} | {f"conv{n}": f"hidden.{n - 1}" for n in range(1, 6)}
THEIR_STEPS = {
    "netPhi.net.netPhi.net.": "first.registration.first.network.",
    "netPhi.net.netPsi.net.": "first.registration.second.network.",
    "netPsi.net.": "second.network.",
}
SMALL_UNET = {"architecture": "unet", "down": [2, 4, 8, 16], "up": [4, 8, 8]}
GOLDEN_STAGES = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}]
GOLDEN_2D = {
    "mlp": {"architecture": "mlp", "hidden": [40, 30]},
    "encdec": {"architecture": "enc_dec", "down": [2, 4, 8, 16], "up": [16, 8, 8]},
    "convonly": {"architecture": "conv_only", "channels": 10, "layers": 6},
}
#: What maps and displacements may differ by, in unit coordinates, and losses, relative to theirs.
MAP_TOLERANCE, LOSS_TOLERANCE = 1e-5, 1e-4
#: The same beside our own processor, where sums run in another order.
DEVICE_TOLERANCE = 1e-4


def measurements(bench: Bench) -> Iterator[Measurement]:
    yield Measurement("what auto takes", partial(automatic, bench), 1)
    for allowed in (False, True):
        yield Measurement(
            f"golden tensors, TF32 {'on' if allowed else 'off'}", partial(golden, bench, allowed), 3
        )
    most = [name for name in SIMILARITIES if name != "mi"]
    yield Measurement("operations beside the processor", partial(operations, bench, most), 10)
    for architecture in NETWORKS:
        for precision in PRECISIONS:
            key = f"training {architecture} {precision}"
            yield Measurement(key, partial(short_training, bench, architecture, precision), 3)
    for architecture in NETWORKS:
        yield Measurement(f"resumed {architecture}", partial(resumed, bench, architecture), 4)
    # By itself: MONAI takes half of the time to load.
    yield Measurement("mutual information beside the processor", partial(operations, bench, ["mi"]), 20)
    yield Measurement("two processes on one device", partial(together, bench), 30)


def automatic(bench: Bench) -> dict:
    """The device and precision of `accelerator: auto` and `precision: auto`, in registration and in training."""
    device, fabric = Device("auto", "auto"), make_fabric("auto", "auto")
    used = str(fabric.strategy.precision.precision)
    taken = {"registration": str(device.device), "training": str(fabric.device), "precision": used}
    wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return taken | {"within": device.device.type == fabric.device.type == wanted and device.precision == used}


def _row(name: str, difference: float, tolerance: float) -> dict:
    return {"what": name, "difference": difference, "tolerance": tolerance, "within": difference <= tolerance}


def _verdict(rows: list[dict]) -> dict:
    """Whether all are within their tolerances, and by how much at worst."""
    worst = max(rows, key=lambda row: row["difference"] / row["tolerance"])
    return {
        "within": all(row["within"] for row in rows),
        "worst": worst["what"],
        "worst_of_tolerance": worst["difference"] / worst["tolerance"],
        "differences": rows,
    }


def _load(module: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Put the weights of a golden file into a module of ours, which is then in evaluation mode."""

    def ours(name: str) -> str:
        for names in (THEIR_STEPS, THEIR_LAYERS):
            for theirs, own in names.items():
                if theirs in name:
                    name = re.sub(re.escape(theirs), own, name, count=1)
                    break
        return name

    given = {ours(n.removeprefix("weights.")): t for n, t in tensors.items() if n.startswith("weights.")}
    module.load_state_dict(given)
    return module.eval()


@torch.no_grad()
def golden(bench: Bench, allowed: bool) -> dict:
    """How far maps, losses and folds are from those that the authors' package gave on a processor."""
    with tf32(allowed):
        rows = [*_golden_networks(bench), *_golden_registrations(bench), *_golden_similarities(bench)]
    return _verdict(rows)


def _golden(bench: Bench, name: str) -> dict[str, Tensor]:
    path = bench.packed / "data" / "golden" / f"{name}.safetensors"
    return {key: tensor.to(bench.device) for key, tensor in load_file(path).items()}


def _golden_networks(bench: Bench) -> Iterator[dict]:
    made = {f"network_unet2_{name}": (3 if "3" in name else 2, None) for name in ("2d", "3d", "3d_odd")}
    made |= {f"network_{name}_2d": (2, network) for name, network in GOLDEN_2D.items()}
    for name, (dim, settings) in made.items():
        tensors = _golden(bench, name)
        grid = tensors["image_A"].shape[2:]
        network = (
            build_network(read_network(settings), grid)
            if settings
            else UNet(dim, SMALL_UNET["down"], SMALL_UNET["up"])
        )
        found = _load(network, tensors).to(bench.device)(tensors["image_A"], tensors["image_B"])
        yield _row(name, (found - tensors["displacement"]).abs().max().item(), MAP_TOLERANCE)


def _golden_registrations(bench: Bench) -> Iterator[dict]:
    for regularity in ("icon", "gradicon"):
        for dim in (2, 3):
            name = f"multistep_{regularity}_{dim}d"
            tensors = _golden(bench, name)
            a, b = tensors["image_A"], tensors["image_B"]
            grid = a.shape[2:]
            registration = _load(
                build_registration(read_network(SMALL_UNET), read_steps(GOLDEN_STAGES), grid)[0], tensors
            ).to(bench.device)
            for key, phi in (("phi_AB", registration(a, b)), ("phi_BA", registration(b, a))):
                found = (phi.on_grid(grid) - tensors[key]).abs().max().item()
                yield _row(f"{name} {key}", found, MAP_TOLERANCE)
            points = identity_map(grid, bench.device) + tensors["noise"]
            terms = icon_loss(registration, a, b, points, regularity=REGULARITIES[regularity])
            for key, term in (
                ("similarity", terms.similarity),
                ("inverse_consistency", terms.inverse_consistency),
            ):
                yield _row(f"{name} {key}", _relative(term, tensors[f"{key}_loss"][0]), LOSS_TOLERANCE)


def _golden_similarities(bench: Bench) -> Iterator[dict]:
    tensors = _golden(bench, "similarity_and_folds")
    a, b = tensors["image_A"], tensors["image_B"]
    for key, name, window in (
        ("ssd", "mse", 1), ("lncc_sigma2", "lncc", 2), ("lncc_sigma5", "lncc", 5),
        ("squared_lncc_sigma2", "squared_lncc", 2),
    ):  # fmt: skip
        value = make_similarity(name, window)(a, b, torch.ones_like(a))
        yield _row(key, _relative(value, tensors[key][0]), LOSS_TOLERANCE)
    for dim in (2, 3):
        value = folds(tensors[f"phi_{dim}d"]).double().mean()
        yield _row(f"folds_{dim}d", _relative(value, tensors[f"folds_{dim}d"]), LOSS_TOLERANCE)


def _relative(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, as a part of the largest value that is wanted."""
    found, wanted = found.detach().double().cpu(), wanted.detach().double().cpu()
    return ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)).item()


def operations(bench: Bench, similarities: Sequence[str]) -> dict:
    """Similarities with their gradients, and what is done with maps, on the device and on the processor."""
    cohort = _cohort(bench)
    a, b = (torch.from_numpy(cohort.images[row].astype("float32"))[None, None] for row in (0, 1))
    random = torch.Generator().manual_seed(bench.seed)
    coarse = [0.05 * torch.randn(1, 3, 4, 4, 4, generator=random) for _ in range(2)]
    first, second = (resize(each, a.shape[2:]) for each in coarse)
    rows = []
    with tf32(False):
        for name, work in _operations(a.shape[2:], similarities).items():
            on_processor, on_device = (
                work(*(x.to(device) for x in (a, b, first, second)))
                for device in (torch.device("cpu"), bench.device)
            )
            parts = zip(on_processor, on_device, strict=True)
            rows.append(_row(name, max(_relative(here, there) for there, here in parts), DEVICE_TOLERANCE))
    return _verdict(rows)


def _operations(
    grid: tuple[int, ...], similarities: Sequence[str]
) -> dict[str, Callable[..., tuple[Tensor, ...]]]:
    """Each a function of two images and two displacement fields that returns tensors."""
    found = {}
    for name in similarities:
        found[f"similarity {name}"] = partial(_with_gradient, make_similarity(name, 2))
        if SIMILARITIES[name].windowed:
            found[f"similarity {name} to one image"] = partial(_to_one, name)
    bounds = torch.tensor([[[0.1] * 3, [0.9] * 3]])

    def phi(displacement: Tensor) -> Tensor:
        return displacement + identity_map(grid, displacement.device)

    def consistency(a: Tensor, b: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        both = torch.cat([first, second]).requires_grad_(True)
        points = sample_points(grid, 2, torch.Generator().manual_seed(1), a)
        value = inverse_consistency(DisplacementField(both), points)
        return value, torch.autograd.grad(value, both)[0]

    affine = torch.cat([1.1 * torch.eye(3), torch.full((3, 1), -0.05)], 1)[None]
    found |= {
        "interpolation": lambda a, b, first, second: (interpolate(a, phi(first)),),
        "composition": lambda a, b, first, second: (
            Composition(DisplacementField(first), DisplacementField(second)).on_grid(grid),
        ),
        "affine map": lambda a, b, first, second: (AffineMap(affine.to(a.device)).on_grid(grid),),
        "volume form": lambda a, b, first, second: (volume_form(phi(first)),),
        "folds": lambda a, b, first, second: (folds(phi(4 * first)).double(),),
        "field of view": lambda a, b, first, second: (within(phi(first), bounds.to(a.device)).mean(),),
        "smoothing": lambda a, b, first, second: (smoothed(first, 1.5),),
        "velocity": lambda a, b, first, second: (flow(MultiGaussian(grid, [0.1], [1.0])(first), 4),),
        "inverse consistency": consistency,
    }  # fmt: skip
    return found


def _with_gradient(similarity: Callable, a: Tensor, b: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
    warped = a.clone().requires_grad_(True)
    value = similarity(warped, b, torch.ones_like(b))
    return value, torch.autograd.grad(value, warped)[0]


def _to_one(name: str, a: Tensor, b: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
    to_b = similarity_to(name, 2, b)
    return _with_gradient(lambda warped, fixed, weight: to_b(warped, weight), a, b, *fields)


def _cohort(bench: Bench) -> Cohort:
    """A few hippocampi."""
    cohort = read(bench.packed, "hippocampi")
    some = cohort.some(cohort.rows("train")[:8], cohort.pairs[:0])
    return some.coarser(4) if bench.small else some


def _images(bench: Bench) -> TrainingImages:
    cohort = _cohort(bench)
    return cohort.training_images(range(8), bench.work / "a", bench.device)


def _stage(bench: Bench) -> dict:
    return {
        "steps": 1, "downsample": 1 if bench.small else 2, "training_steps": 4 if bench.small else 20,
        "batch_size": 2, "learning_rate": 1e-3, "schedule": "cosine", "weight": 10, "weight_increment": 0,
        "fold_threshold": 0, "stride": 2, "window": 1.5,
    }  # fmt: skip


def objective(architecture: str, stage: dict, grid: tuple[int, ...], seed: int) -> nn.Module:
    """What a short training minimises."""
    model = {
        "network": NETWORKS[architecture],
        "similarity": "squared_lncc",
        "regularity": "icon",
        "noise": 0,
    }
    model = IconModel.read(model | {"stages": [stage]})
    torch.manual_seed(seed)
    return Icon.objective(*Icon.build(model, grid), model)


def trained_by(stage: dict) -> Stage:
    """A stage as training takes it."""
    return IconStage.read(stage)


def weights_of(module: nn.Module) -> Tensor:
    """All that is trained, in one row, in the processor's memory."""
    return torch.cat([p.detach().flatten() for p in module.parameters()]).cpu()


def short_training(bench: Bench, architecture: str, precision: str) -> dict:
    """The loss of the same pairs and points before the training and after it."""
    images, stage = _images(bench), _stage(bench)
    fabric = make_fabric(bench.device.type, precision)
    trained = objective(architecture, stage, images.grid, bench.seed)
    losses = [_loss(fabric.to_device(trained), images, stage)]
    train(trained, images, trained_by(stage), bench.seed, fabric, _fresh(bench), stage["training_steps"])
    losses.append(_loss(trained, images, stage))
    used = str(fabric.strategy.precision.precision)
    return {
        "precision_used": used,
        "loss_before": losses[0],
        "loss_after": losses[1],
        "falls": losses[1] < losses[0],
    }


@torch.no_grad()
def _loss(trained: nn.Module, images: TrainingImages, stage: dict) -> float:
    """The loss of some pairs in single precision, with the batch statistics of these."""
    rows = np.arange(len(images))
    terms = trained.train()(images.pairs(rows, rows[::-1].copy(), torch.Generator().manual_seed(3)))
    return (terms.similarity + stage["weight"] * terms.inverse_consistency).item()


def _fresh(bench: Bench) -> Path:
    """A folder for checkpoints that no other training has."""
    _fresh.count = getattr(_fresh, "count", 0) + 1
    return bench.work / "a" / f"{os.getpid()}-{_fresh.count}"


def resumed(bench: Bench, architecture: str) -> dict:
    """How far weights are apart that were trained at once, at once again, and in two goes."""
    images, stage = _images(bench), _stage(bench)
    half = stage["training_steps"] // 2

    def trained(goes: int) -> Tensor:
        folder = _fresh(bench)
        for go in range(goes):
            module = objective(architecture, stage, images.grid, bench.seed)
            fabric = make_fabric(bench.device.type, "32-true")
            steps = iter(range(1, half + 1))
            stop = (lambda steps=steps: next(steps) == half) if go < goes - 1 else (lambda: False)
            train(module, images, trained_by(stage), bench.seed, fabric, folder, half, stop=stop)
        return weights_of(module)

    once, again, twice = trained(1), trained(1), trained(2)
    apart, by_chance = ((once - other).abs().max().item() for other in (twice, again))
    return {
        "same": apart == 0,
        "apart": apart,
        "apart_of_two_runs": by_chance,
        "largest_weight": once.abs().max().item(),
    }


def together(bench: Bench) -> dict:
    """How far weights are apart that two processes on this device trained together, and one alone."""
    images, stage = _images(bench), _stage(bench)
    module = objective("dual_stream", stage, images.grid, bench.seed)
    train(
        module,
        images,
        trained_by(stage),
        bench.seed,
        make_fabric(bench.device.type, "32-true"),
        _fresh(bench),
        100,
    )
    alone = weights_of(module)
    given = {"folder": str(bench.work / "a"), "stage": stage, "seed": bench.seed, "device": bench.device.type}
    given["parent"] = os.getpid()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(2):
        # As two nodes with a device each would be: two processes of one node want two devices.
        variables = {
            "RANK": rank,
            "GROUP_RANK": rank,
            "LOCAL_RANK": 0,
            "WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
        }
        variables |= {"MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "ladder", "OMP_NUM_THREADS": 1}
        if sys.platform == "linux":  # where there is no network, the machine's name leads nowhere
            variables["GLOO_SOCKET_IFNAME"] = "lo"
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        command = [sys.executable, __file__, json.dumps(given | {"output": str(_fresh(bench))})]
        processes.append(subprocess.Popen(command, env=environment))
    try:
        codes = [process.wait(90) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        raise RuntimeError(f"the two processes ended with {codes}")
    both = torch.load(Path(given["folder"]) / "together.pt")
    apart = (alone - both).abs()
    moved = (alone - weights_of(objective("dual_stream", stage, images.grid, bench.seed))).abs()
    return {
        "apart": apart.max().item(),
        "apart_mean": apart.mean().item(),
        "moved": moved.max().item(),
        "moved_mean": moved.mean().item(),
    }


def _one_of_two(given: dict) -> None:
    """What each of the two processes does; the first writes the weights."""
    from ladder import end_with_parent
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    end_with_parent(given["parent"])
    # NCCL refuses two processes on one device.
    strategy = DDPStrategy(process_group_backend="gloo")
    options = {"accelerator": given["device"], "devices": 1, "num_nodes": 2, "strategy": strategy}
    fabric = Fabric(**options, plugins=[TorchElasticEnvironment()])
    fabric.launch()
    folder = Path(given["folder"])
    images = TrainingImages(folder / "images.npy", folder / "images.json", fabric.device)
    module = objective("dual_stream", given["stage"], images.grid, given["seed"])
    train(module, images, trained_by(given["stage"]), given["seed"], fabric, Path(given["output"]), 100)
    if fabric.is_global_zero:
        torch.save(weights_of(module), folder / "together.pt")


if __name__ == "__main__":
    _one_of_two(json.loads(sys.argv[1]))
