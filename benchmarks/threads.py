"""A small training on all cores, alone and beside busy processes, as OpenMP's threads spin, spin briefly, or sleep.

python benchmarks/threads.py OUTPUT.csv [TURNS]

Each turn runs every case once, in a process of its own, so that other load on the machine meets all of them. The last
column says whether the weights are the same to the last bit in all runs.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd

from cohortreg.provenance import hardware

#: As OpenMP comes; as `cohortreg` sets it; without any spinning.
CASES = {"spin": {}} | {
    name: {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": count}
    for name, count in (("briefly", "1000"), ("sleep", "0"))
}
STEPS = 20

TRAINING = f"""
import os, time
import torch
from cohortreg.config import read_network, read_steps
from cohortreg.icon.objective import StageObjective
from cohortreg.icon.stages import build_registration
from cohortreg.learning.devices import use_processor
from cohortreg.learning.weights import digest_of
from cohortreg.losses.terms import Batch
use_processor(os.cpu_count())
torch.manual_seed(0)
network = {{"architecture": "unet", "down": [2, 16, 32, 64], "up": [16, 32, 64]}}
steps = read_steps([{{"steps": 1, "downsample": 1}}])
registration, before = build_registration(read_network(network), steps, (24, 24, 24))
objective = StageObjective(registration, before, 1).train()
optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
images = torch.rand(2, 2, 1, 24, 24, 24)
seen = torch.tensor([[[0] * 3, [24] * 3]] * 2)
started = time.perf_counter()
for step in range({STEPS}):
    terms = objective(Batch(*images, seen, seen, torch.Generator().manual_seed(step)))
    optimizer.zero_grad()
    (terms.similarity + terms.inverse_consistency).backward()
    optimizer.step()
print(time.perf_counter() - started, digest_of(registration.state_dict()))
"""


def run(policy: dict[str, str]) -> tuple[float, str]:
    """Seconds of a training, and a digest of its weights."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, "-c", TRAINING]
    done = subprocess.run(command, env=inherited | policy, capture_output=True, text=True, check=True)
    seconds, digest = done.stdout.split()
    return float(seconds), digest


def main() -> None:
    """Write the table."""
    output, turns = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 3
    times: dict[tuple[str, str], list[float]] = {}
    digests, load = set(), os.getloadavg()[0]
    for _ in range(turns):
        for beside in ("as it was", "a busy process on each core more"):
            busy = [sys.executable, "-c", "while True: pass"]
            others = [subprocess.Popen(busy) for _ in range(os.cpu_count() * (beside != "as it was"))]
            try:
                for name, policy in CASES.items():
                    seconds, digest = run(policy)
                    times.setdefault((beside, name), []).append(seconds)
                    digests.add(digest)
            finally:
                for other in others:
                    other.kill()
                    other.wait()
    rows = [
        {"beside": beside}
        | {f"{name}_s": round(statistics.median(times[beside, name]), 2) for name in CASES}
        | {"turns": turns, "steps": STEPS}
        | {"load_before": load, "hardware": hardware(), "same_weights": len(digests) == 1}
        for beside in dict.fromkeys(beside for beside, _ in times)
    ]
    pd.DataFrame(rows).to_csv(output, index=False)


if __name__ == "__main__":
    main()
