"""What mixed precision does to images and networks in training."""

import pytest
import torch
from torch import nn

from cohortreg.errors import UserError
from cohortreg.learning.fabric import make_fabric


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


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_accelerator_that_is_not_there_is_a_sentence():
    with pytest.raises(UserError, match="the accelerator is 'gpu', but PyTorch finds none here"):
        make_fabric("gpu", "32-true")


def test_several_devices_without_torchrun_are_a_sentence(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(UserError, match="need torchrun"):
        make_fabric("cpu", "32-true", devices=2)
