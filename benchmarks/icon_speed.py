"""Registration and training side by side with the authors' package, in one run, with the same weights.

Each side works in a process of its own, which gives its peak memory; the two take turns, so that whatever else
the machine does meets both. See README.md beside this file.
"""

import argparse
import csv
import importlib.util
import math
import multiprocessing
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType

PEER = "icon_registration==1.1.9"
FOLDER = Path(__file__).parent / ".peer"
DOCS = Path(__file__).parents[1] / "docs" / "measured"

#: The paper's network, and the stages of its model of OAI knees; one full grid and one for a sanity check.
NETWORK = {"architecture": "unet", "down": [2, 16, 32, 64, 256, 512], "up": [16, 32, 64, 128, 256]}
FOUR_STEPS = [{"steps": 2, "downsample": 2}, {"steps": 1, "downsample": 1}, {"steps": 1, "downsample": 1}]
TWO_STEPS = [{"steps": 2, "downsample": 1}]

#: work: grid, grid of the sanity check, pairs, stages, our precision, the package's, and what is to be reached:
#: a share of the package's time, and voxels that maps may lie apart on average.
WORKS = {
    "registration float32": {
        "grid": (80, 192, 192), "quick": (40, 48, 48), "pairs": 1, "stages": FOUR_STEPS,
        "precision": "32-true", "peer_precision": "32-true", "to_reach": 0.45, "voxels": 1e-3,
    },
    "registration bfloat16": {
        "grid": (80, 192, 192), "quick": (40, 48, 48), "pairs": 1, "stages": FOUR_STEPS,
        "precision": "bf16-mixed", "peer_precision": "32-true", "to_reach": 0.35, "voxels": 0.05,
    },
    "registration bfloat16, the package under autocast": {
        "grid": (80, 192, 192), "quick": (40, 48, 48), "pairs": 1, "stages": FOUR_STEPS,
        "precision": "bf16-mixed", "peer_precision": "bf16-mixed", "to_reach": None, "voxels": None,
    },
    "training step": {
        "grid": (40, 96, 96), "quick": (32, 32, 32), "pairs": 2, "stages": TWO_STEPS,
        "precision": "32-true", "peer_precision": "32-true", "to_reach": 0.6, "voxels": None,
    },
}  # fmt: skip


def install_peer() -> None:
    """The authors' package without what it depends on, into a folder of this benchmark."""
    if not (FOLDER / "icon_registration").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(FOLDER), PEER]
        subprocess.run(pip, check=True)


def import_peer() -> ModuleType:
    """The authors' package, with empty modules in place of what neither networks nor losses use."""
    wanted = ["torchvision", "itk", "footsteps", "tqdm", "tensorboard"]
    stand_ins = [name for name in wanted if importlib.util.find_spec(name) is None]
    sys.modules.update({name: ModuleType(name) for name in stand_ins})
    sys.path.insert(0, str(FOLDER))
    import icon_registration
    import icon_registration.networks
    import icon_registration.pretrained_models

    for name in stand_ins:  # torch asks for some of them too, and takes a stand-in for the real one
        del sys.modules[name]
    return icon_registration


def images(pairs: int, grid: tuple[int, ...]):
    """Smooth images with intensities between 0 and 1, [2 * pairs, 1, *grid]."""
    import torch
    import torch.nn.functional as F

    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2 * pairs, 1, *[max(2, n // 8) for n in grid], generator=generator)
    fine = torch.rand(2 * pairs, 1, *grid, generator=generator)
    return 0.9 * F.interpolate(coarse, size=grid, mode="trilinear", align_corners=True) + 0.1 * fine


def our_registration(stages: list[dict], grid: tuple[int, ...], network: dict = NETWORK):
    """The stages' registration with random weights that move images by some voxels, in training mode.

    Beside it, what the last stage freezes, or None.
    """
    import torch

    from cohortreg.config import read_network, read_steps
    from cohortreg.icon.stages import build_registration
    from cohortreg.icon.steps import DisplacementNetwork

    torch.manual_seed(0)
    registration, before = build_registration(read_network(network), read_steps(stages), grid)
    for step in registration.modules():
        if isinstance(step, DisplacementNetwork):
            for norm in step.network.norm:
                torch.nn.init.uniform_(norm.weight, 0.7, 1.3)
                torch.nn.init.normal_(norm.bias, std=0.1)
                torch.nn.init.normal_(norm.running_mean, std=0.1)
                torch.nn.init.uniform_(norm.running_var, 0.7, 1.3)
            torch.nn.init.normal_(step.network.last.weight, std=0.01)
            torch.nn.init.normal_(step.network.last.bias, std=0.1)
    return registration, before


def their_registration(stages: list[dict], grid: tuple[int, ...], network: dict = NETWORK):
    """The same registration of the authors' package, with the same weights, at the resolution of the last stage.

    Beside it, what the last stage freezes, or None.
    """
    peer = import_peer()
    from cohortreg.icon.steps import DisplacementNetwork

    registration, before, resolution = None, None, 1
    for stage in stages:
        before = registration
        for _ in range(round(math.log2(resolution / stage["downsample"])) if registration else 0):
            registration = peer.DownsampleRegistration(registration, dimension=3)
        for _ in range(stage["steps"]):
            unet = peer.networks.UNet2(len(network["up"]), [network["down"], network["up"]], dimension=3)
            step = peer.FunctionFromVectorField(unet)
            registration = peer.TwoStepRegistration(registration, step) if registration else step
        resolution = stage["downsample"]
    ours, _ = our_registration(stages, grid, network)
    ours = [m.network for m in ours.modules() if isinstance(m, DisplacementNetwork)]
    theirs = [m for m in registration.modules() if isinstance(m, peer.networks.UNet2)]
    names = {"down.": "downConvs.", "up.": "upConvs.", "norm.": "batchNorms.", "last.": "lastConv."}
    for target, source in zip(theirs, ours, strict=True):
        tensors = source.state_dict().items()
        target.load_state_dict(
            {re.sub(r"^\w+\.", lambda found: names[found[0]], name): tensor for name, tensor in tensors}
        )
    return registration, before


def our_work(name: str, grid: tuple[int, ...], device: str):
    """What one repetition of a work does on our side: a function that returns the map, or None."""
    import torch
    from lightning_fabric import Fabric

    from cohortreg.icon.objective import StageObjective
    from cohortreg.learning.devices import use_processor
    from cohortreg.losses.terms import Batch
    from cohortreg.methods.icon import for_registration

    work = WORKS[name]
    use_processor(torch.get_num_threads())
    fabric = Fabric(accelerator=device, devices=1, precision=work["precision"])
    registration, _ = our_registration(work["stages"], grid)
    pairs = fabric.to_device(images(work["pairs"], grid)).split(work["pairs"])
    if name != "training step":
        registration = for_registration(registration, fabric)

        @torch.inference_mode()
        def register():
            return registration(*pairs).on_grid(grid)

        return register

    objective = StageObjective(registration, None, downsample=1)
    module, optimizer = fabric.setup(objective, torch.optim.Adam(objective.parameters(), lr=1e-4, fused=True))
    module.train()
    whole = torch.tensor([[0, 0, 0], grid]).repeat(work["pairs"], 1, 1).to(fabric.device)
    generator = torch.Generator().manual_seed(2)

    def step():
        similarity, inverse_consistency, folds = module(Batch(*pairs, whole, whole, generator))
        loss = similarity + 100 * inverse_consistency
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()
        return similarity.item(), inverse_consistency.item(), loss.item(), folds.item()

    return step


def their_work(name: str, grid: tuple[int, ...], device: str):
    """What one repetition of a work does in the authors' package."""
    import torch

    work = WORKS[name]
    registration, _ = their_registration(work["stages"], grid)
    peer = import_peer()
    pairs = images(work["pairs"], grid).to(device).split(work["pairs"])
    if name != "training step":
        registration.assign_identity_map([work["pairs"], 1, *grid])
        registration.to(device).eval()

        @torch.no_grad()
        def register():
            with torch.autocast(device, torch.bfloat16, enabled=work["peer_precision"] == "bf16-mixed"):
                return registration(*pairs)(registration.identity_map)

        return register

    model = peer.InverseConsistentNet(registration, peer.SSD(), 100)
    model.assign_identity_map([work["pairs"], 1, *grid])
    model.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        loss = model(*pairs)
        loss.all_loss.backward()
        optimizer.step()
        return peer.losses.to_floats(loss)

    return step


def worker(connection, side: str, name: str, grid: tuple[int, ...], device: str, result: Path) -> None:
    """Do a work whenever asked to, and answer with the seconds that it took and the peak memory so far in GiB."""
    import torch

    repeat = {"ours": our_work, "theirs": their_work}[side](name, grid, device)
    while connection.recv() == "go":
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        answer = repeat()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if device == "cuda":
            peak = torch.cuda.max_memory_allocated()
        if not result.exists():
            torch.save(answer.float().cpu() if torch.is_tensor(answer) else None, result)
        del answer
        connection.send((seconds, peak / 2**30))


def measure(name: str, grid: tuple[int, ...], device: str, repetitions: int) -> dict:
    """A row of the table: seconds of both sides in turn, peak memory, and how far apart the maps are."""
    import torch

    work = WORKS[name]
    spawn = multiprocessing.get_context("spawn")
    seconds, peak = {"ours": [], "theirs": []}, {}
    with tempfile.TemporaryDirectory() as folder:
        results = {side: Path(folder) / side for side in seconds}
        ends = {}
        for side in seconds:
            ends[side], end = spawn.Pipe()
            arguments = (end, side, name, grid, device, results[side])
            spawn.Process(target=worker, args=arguments, daemon=True).start()
            end.close()
        for repetition in range(repetitions + 1):
            for side, end in ends.items():
                end.send("go")
                passed, peak[side] = end.recv()
                if repetition:  # the first one warms up
                    seconds[side].append(passed)
                    print(f"{name}, {side}: {passed:.2f} s", file=sys.stderr, flush=True)
        for end in ends.values():
            end.send("stop")
        apart = math.nan
        if name != "training step":
            ours, theirs = (torch.load(results[side]) for side in ("ours", "theirs"))
            size = torch.tensor(grid).reshape(1, -1, 1, 1, 1) - 1
            apart = ((ours - theirs) * size).norm(dim=1).mean().item()
            moved = ((theirs - identity(grid)) * size).norm(dim=1).mean().item()
            print(f"{name}: maps are {apart:.2g} of {moved:.2g} voxels apart", file=sys.stderr)
    ours, theirs = seconds["ours"], seconds["theirs"]
    return {
        "work": name,
        "grid": "x".join(map(str, grid)),
        "pairs": work["pairs"],
        "precision": work["precision"],
        "package_precision": work["peer_precision"],
        "seconds": f"{statistics.median(ours):.3f}",
        "seconds_min": f"{min(ours):.3f}",
        "package_seconds": f"{statistics.median(theirs):.3f}",
        "package_seconds_min": f"{min(theirs):.3f}",
        "ratio": f"{statistics.median(ours) / statistics.median(theirs):.3f}",
        "ratio_min": f"{min(ours) / min(theirs):.3f}",
        "ratio_to_reach": work["to_reach"],
        "gib": f"{peak['ours']:.2f}",
        "package_gib": f"{peak['theirs']:.2f}",
        "voxels_apart": f"{apart:.2g}",
        "voxels_allowed": work["voxels"],
        "repetitions": repetitions,
    }


def identity(grid: tuple[int, ...]):
    from cohortreg.maps.grids import identity_map

    return identity_map(grid)


def circumstances(device: str) -> dict:
    """What the table was measured on and with."""
    import torch

    from cohortreg.provenance import git_commit, hardware

    return {
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "icon_registration": metadata.Distribution.at(next(FOLDER.glob("*.dist-info"))).version,
        "git_commit": git_commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small grids, to see that everything works")
    parser.add_argument("--work", action="append", choices=list(WORKS), help="only this one; may be repeated")
    parser.add_argument("--output", type=Path, help="the table; default: docs/measured/icon-speed-….csv")
    options = parser.parse_args()
    install_peer()
    rows = []
    for name in options.work or WORKS:
        grid = WORKS[name]["quick" if options.quick else "grid"]
        rows.append(measure(name, grid, options.device, options.repetitions) | circumstances(options.device))
        told = ("work", "ratio", "ratio_min", "gib", "package_gib", "voxels_apart")
        print({key: rows[-1][key] for key in told})
    words = re.sub(r"\(\w+\)|processor|,", " ", rows[0]["hardware"].lower())
    output = options.output or DOCS / f"icon-speed-{'-'.join(words.split())}.csv"
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    print(output)


if __name__ == "__main__":
    main()
