"""Where a registration computes, and what a processor is kept from."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cohortreg.errors import UserError
from cohortreg.learning.devices import Device, precision_on, slow_precision, use_processor
from cohortreg.learning.fabric import make_fabric


@pytest.mark.parametrize("accelerator", ["auto", "cpu", "gpu"])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_registration_computes_as_training_does(accelerator, precision):
    if accelerator == "gpu" and not torch.cuda.is_available():
        with pytest.raises(UserError, match="PyTorch finds none here"):
            Device(accelerator, precision)
        return
    device, fabric = Device(accelerator, precision), make_fabric(accelerator, precision)
    convolve, image = nn.Conv3d(1, 1, 1), torch.ones(1, 1, 2, 2, 2)
    computed = []
    for each in (device, fabric):
        with each.autocast():
            computed.append(each.to_device(convolve)(each.to_device(image)))
    assert computed[0].dtype == computed[1].dtype
    assert computed[0].equal(computed[1])
    assert device.device == fabric.device


def test_auto_is_single_precision_on_every_processor_and_half_has_a_warning_where_it_is_slow():
    cpu = torch.device("cpu")
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").is_file() else []
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    assert precision_on(cpu, "auto") == "32-true"
    assert Device("cpu", "auto").precision == "32-true"
    assert make_fabric("cpu", "auto").strategy.precision.precision == "32-true"
    for asked in ("32-true", "bf16-mixed", "16-mixed"):
        assert precision_on(cpu, asked) == asked
        assert bool(slow_precision(cpu, asked)) == (asked != "32-true" and not native)
    assert not slow_precision(cpu, "auto")  # what it takes is never slow


def test_no_more_threads_than_cores_are_started():
    threads = torch.get_num_threads()
    try:
        use_processor(100000)
        assert torch.get_num_threads() == os.cpu_count()
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def test_numbers_that_slow_processors_down_are_zero():
    threads = torch.get_num_threads()
    try:
        use_processor(threads)
        assert (torch.tensor([1e-30]) * 1e-10).item() == 0
    finally:
        torch.set_flush_denormal(False)
    assert (torch.tensor([1e-30]) * 1e-10).item() > 0


FAULTS = """
import resource, sys, torch
from cohortreg.learning.devices import use_processor
if sys.argv[1] == "use": use_processor(1)
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40): torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone maps large tensors anew"
)
def test_large_tensors_take_the_memory_of_those_before_them():
    faults = {
        which: int(
            subprocess.run([sys.executable, "-c", FAULTS, which], capture_output=True, text=True).stdout
        )
        for which in ("use", "plain")
    }
    # Room for a few tensors more is taken where something small came to lie in between.
    assert faults["use"] < 0.5 * faults["plain"]
