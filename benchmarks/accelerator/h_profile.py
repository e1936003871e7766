"""A profile: which kernels does a training step of the paper's model spend its time in, and which a registration?

Of part b: the third stage's training step with two pairs, and the registration of one, both in bf16-mixed. On a GPU the
rows are its kernels, and `busy` the part of the time in which one ran; on a processor PyTorch's operators.
"""

from collections.abc import Iterator
from functools import partial

import torch
from b_model import Work, our_work
from bench import Bench, Measurement, synchronise, timed
from torch.profiler import ProfilerActivity, profile

ROWS = 40


def measurements(bench: Bench) -> Iterator[Measurement]:
    for work in (Work(3, 2, "bf16-mixed"), Work(0, 1, "bf16-mixed")):
        yield Measurement(work.name, partial(profiled, bench, work), 15)


def profiled(bench: Bench, work: Work) -> dict:
    """The kernels of one repetition by time: milliseconds, calls, and the share of all of them."""
    repeat = our_work(bench, work)
    (seconds,) = timed(repeat, bench.device, 1, warm_up=3)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.cuda else [])]
    with profile(activities=activities) as profiler:
        repeat()
        synchronise(bench.device)
    rows = sorted(_kernels(bench, profiler), key=lambda row: -row["ms"])
    total = sum(row["ms"] for row in rows)
    for row in rows:
        row["share"] = row["ms"] / total
    return {
        "seconds_once": seconds,
        "ms_of_all": total,
        "busy": total / 1000 / seconds,
        "kinds": len(rows),
        "kernels": rows[:ROWS],
    }


def _kernels(bench: Bench, profiler: profile) -> Iterator[dict]:
    for event in profiler.key_averages():
        # Of a span that has a name, such as an optimizer's step, the kernels have rows of their own.
        if bench.cuda and (event.device_type != torch.autograd.DeviceType.CUDA or event.is_user_annotation):
            continue
        microseconds = event.self_device_time_total if bench.cuda else event.self_cpu_time_total
        if microseconds > 0:
            yield {"kernel": event.key[:200], "calls": event.count, "ms": microseconds / 1000}
