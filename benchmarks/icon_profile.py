"""Where the time of our side of icon_speed.py goes, and how far from the floor it is. Prints Markdown.

The floor is what the convolutions would take at the rate of a product of matrices on the same threads.
"""

import argparse
import time

import torch
from icon_speed import WORKS, our_work
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode


def best(function, repetitions: int = 3) -> float:
    """Seconds of the fastest of some calls, after one that warms up."""
    seconds = []
    for _ in range(repetitions + 1):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def matmul_rate(dtype: torch.dtype) -> float:
    """Operations a second of a product of matrices that is as efficient as they get."""
    size = 3072
    a = torch.randn(size, size).to(dtype)
    return 2 * size**3 / best(lambda: a @ a)


def convolution_operations(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    counts = counter.get_flop_counts()["Global"]
    return sum(count for operator, count in counts.items() if "conv" in str(operator))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small grids, to see that everything works")
    parser.add_argument("--operators", type=int, default=12, help="how many operators to tell")
    options = parser.parse_args()
    for name in ("registration float32", "registration bfloat16", "training step"):
        work = WORKS[name]
        repeat = our_work(name, work["quick" if options.quick else "grid"], "cpu")
        seconds = best(repeat)
        half = work["precision"].startswith("bf16")
        rate = matmul_rate(torch.bfloat16 if half else torch.float32)
        operations = convolution_operations(repeat)
        print(
            f"\n### {name}: {seconds:.2f} s\n\nConvolutions are {operations / 1e9:.0f} GFLOP, at the {rate / 1e9:.0f} "
            f"GFLOP/s of a product of matrices {operations / rate:.2f} s: {seconds / (operations / rate):.1f} times.\n"
        )
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            repeat()
        rows = sorted(profiler.key_averages(), key=lambda row: -row.self_cpu_time_total)
        total = sum(row.self_cpu_time_total for row in rows)
        print("| operator | calls | seconds | share |\n| --- | --- | --- | --- |")
        for row in rows[: options.operators]:
            own = row.self_cpu_time_total
            print(f"| `{row.key}` | {row.count} | {own / 1e6:.3f} | {own / total:.0%} |", flush=True)


if __name__ == "__main__":
    main()
