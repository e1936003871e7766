"""What mixed precision does to images and networks."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from cohortreg.learning.devices import make_fabric, use_processor


class Observer(nn.Module):
    """Notes the precision of what it gets, and that of a convolution of it."""

    def __init__(self):
        super().__init__()
        self.convolve = nn.Conv3d(1, 1, 1)

    def forward(self, images):
        self.seen, self.computed = images.dtype, self.convolve(images).dtype
        return images.mean()


@pytest.mark.parametrize(
    ("precision", "computed"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)]
)
def test_networks_compute_in_the_precision_asked_for_and_images_keep_theirs(precision, computed):
    observer = Observer()
    module = make_fabric("cpu", precision).setup_module(observer)
    images = torch.full((1, 1, 2, 2, 2), 1 + 2**-12)
    assert module(images).item() == images[0, 0, 0, 0, 0]
    assert (observer.seen, observer.computed) == (torch.float32, computed)


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
def test_every_precision_of_the_configuration_computes(precision):
    """Processors have no mixed float16; Fabric takes bfloat16 there."""
    fabric = make_fabric("cpu", precision)
    module = fabric.setup_module(Observer())
    assert module(torch.ones(1, 1, 2, 2, 2)).item() == 1
    expected = {"16-mixed": "bf16-mixed"}.get(precision, precision)
    assert fabric.strategy.precision.precision == expected


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
