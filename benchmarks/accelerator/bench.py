"""What every part measures with: the device, its rates, seconds, memory, arithmetic and traffic of some work."""

import gc
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from records import Clock, Results
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from cohortreg.provenance import git_commit, hardware

REPOSITORY = Path(__file__).resolve().parents[2]
#: What of the repository decides what is measured.
CODE = ("src/cohortreg", "benchmarks/accelerator", "benchmarks/icon_speed.py")
ABOUT = "about.json"
GIB = 2**30
#: Seconds that a measurement may take beyond three times what is expected, before it is ended.
PATIENCE = 30


@dataclass
class Bench:
    """What a part is given.

    small: a rehearsal, in seconds on a processor. packed: the folder that `pack` made. work: for what may be thrown
    away: images as trainings read them, checkpoints. run: when it began.
    """

    device: torch.device
    small: bool
    seed: int
    packed: Path
    work: Path
    results: Results
    clock: Clock
    run: str

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"


@dataclass(frozen=True)
class Measurement:
    """Something to measure.

    key: its name in the results. work: measures it and returns values by name. expected: seconds that it takes at full
    size; it is left for the next run where less time is left. watched: whether it may be ended where it takes many
    times as long; else it ends by the clock itself.
    """

    key: str
    work: Callable[[], dict]
    expected: float = 2
    watched: bool = True

    @property
    def limit(self) -> float | None:
        """Seconds after which it is taken for one that never ends; None where the part's clock ends it."""
        return PATIENCE + 3 * self.expected if self.watched else None


def code_digest(root: Path = REPOSITORY) -> str:
    """A digest of the code that measures, wherever it lies."""
    sha = hashlib.sha256()
    for part in CODE:
        path = root / part
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix in ("", ".py", ".yaml"):
                sha.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return sha.hexdigest()


def commit(packed: Path) -> str:
    """The commit of this code, with "-dirty" where files were changed; without git, the one that `pack` noted."""
    if found := git_commit():
        return found
    about = json.loads((packed / ABOUT).read_text("utf-8")) if (packed / ABOUT).is_file() else {}
    noted = about.get("commit", "")
    return noted if about.get("code") == code_digest() else f"{noted}-changed-since-packed"


def facts(device: torch.device, seed: int, packed: Path) -> dict:
    """What a run runs on and with."""
    found = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "commit": commit(packed),
        "seed": seed,
        "device": hardware(device.type),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for name in ("numpy", "lightning-fabric", "safetensors"):
        found[name] = importlib.metadata.version(name)
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        found |= {"gib": round(about.total_memory / GIB, 1), "capability": f"{about.major}.{about.minor}"}
    return found


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    work: Callable[[], object], device: torch.device, repetitions: int, warm_up: int = 1
) -> list[float]:
    """Seconds of each repetition, after some that do not count."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(repetitions):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return seconds


def summary(seconds: list[float]) -> dict:
    """Median, least, and how many."""
    return {
        "median_s": statistics.median(seconds),
        "least_s": min(seconds),
        "repetitions": len(seconds),
    }


@contextmanager
def memory(device: torch.device, before: int = 0) -> Iterator[dict]:
    """A dictionary that has the peak memory of the block afterwards, `gib`, less what lay there `before`, in bytes.

    Empty on a processor, which does not tell. Reserved is what the allocator took for it.
    """
    found: dict = {}
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield found
    if device.type == "cuda":
        synchronise(device)
        found["gib"] = (torch.cuda.max_memory_allocated(device) - before) / GIB
        found["gib_reserved"] = torch.cuda.max_memory_reserved(device) / GIB


def allocated(device: torch.device) -> int:
    """Bytes that tensors take on the device now; 0 on a processor."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def works_still(device: torch.device) -> bool:
    """Whether the device does anything more in this process: after some errors every call fails."""
    try:
        synchronise(device)
        return bool(torch.ones(1, device=device).item())
    except RuntimeError:
        return False


def forget(device: torch.device) -> None:
    """Give back memory that nothing needs any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class _Traffic(TorchDispatchMode):
    """Counts the bytes of the tensors that each operation reads and writes, views left out."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        if not view:
            tensors = [x for x in tree_leaves((args, kwargs, found)) if isinstance(x, torch.Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return found


def counted(work: Callable[[], object]) -> dict:
    """Arithmetic of some work, 10^12 operations, and the traffic of its operations, if none were fused, in GB."""
    with FlopCounterMode(display=False) as flops:
        work()
    with _Traffic() as traffic:
        work()
    return {"teraflop": flops.get_total_flops() / 1e12, "traffic_gb": traffic.bytes / 1e9}


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether products and convolutions of float32 may round to TF32 on a GPU."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before[0])
            torch.backends.cudnn.allow_tf32 = before[1]


def rates(device: torch.device, small: bool) -> dict:
    """What the device does at most: 10^12 operations a second in products of large matrices, GB/s in a large copy."""
    size = 256 if small else 8192
    found = {}
    kinds = [("float32", torch.float32, False), ("bfloat16", torch.bfloat16, False)]
    if device.type == "cuda":
        kinds += [("tf32", torch.float32, True), ("float16", torch.float16, False)]
    for name, dtype, rounded in kinds:
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        with tf32(rounded):
            seconds = min(timed(lambda a=a, b=b: a @ b, device, 5, 2))
        found[f"{name}_tflop_s"] = 2 * size**3 / seconds / 1e12
    source = torch.ones(2 ** (20 if small else 30), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = min(timed(lambda: target.copy_(source), device, 5, 2))
    return found | {"copy_gb_s": 2 * source.numel() / seconds / 1e9}
