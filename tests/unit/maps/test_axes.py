import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

from cohortreg.errors import UserError
from cohortreg.maps.axes import Axes
from cohortreg.maps.grids import identity_map, interpolate

ALL = ["RAS", "LPS", "LIP", "SAR", "PIR", "ASL", "IRP"]


@pytest.mark.parametrize("letters", ALL)
def test_arrays_turn_as_nibabel_turns_them(letters):
    array = np.random.default_rng(0).random((2, 3, 4))
    theirs = apply_orientation(array, ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(letters)))
    ours = Axes(letters).to_model(torch.from_numpy(array)[None, None])
    np.testing.assert_array_equal(ours[0, 0].numpy(), theirs)
    assert Axes(letters).ours(theirs.shape) == array.shape


@pytest.mark.parametrize("letters", ALL)
def test_a_map_of_turned_images_is_the_map_of_the_images(letters):
    """What the model's field does to the turned image, the turned-back field does to the image."""
    axes, random = Axes(letters), torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 5, 6, 7, generator=random)
    turned = axes.to_model(image)
    field = 0.1 * torch.rand(1, 3, *turned.shape[2:], generator=random)
    warped = interpolate(turned, identity_map(turned.shape[2:]) + field)
    again = interpolate(image, identity_map(image.shape[2:]) + axes.from_model(field))
    torch.testing.assert_close(axes.to_model(again), warped)


def test_axes_by_hand():
    """LIP: the first axis runs left, the second down, the third back."""
    axes = Axes("LIP")
    assert (axes.order, axes.flipped) == ([0, 2, 1], [0, 1, 2])
    assert axes.ours((80, 192, 190)) == (80, 190, 192)
    assert axes.boxes_to_model([[0, 80], [10, 100], [5, 192]], (80, 190, 192)) == [
        [0, 80],
        [0, 187],
        [90, 180],
    ]
    # One to the left along the model's first axis is one against our first.
    field = torch.zeros(1, 3, 2, 3, 4)
    field[:, 0], field[:, 1] = 1, 2
    back = axes.from_model(field)
    assert back.shape == (1, 3, 2, 4, 3)
    assert back[0, :, 0, 0, 0].tolist() == [-1, 0, -2]


@pytest.mark.parametrize("letters", ["RAX", "RA", "RLS", "ras", ""])
def test_letters_that_are_no_axes(letters):
    with pytest.raises(UserError, match="one each of R or L"):
        Axes(letters)
