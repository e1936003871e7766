"""Images of 4.1: the original MNIST files, and shapes by hand."""

import gzip
import math

import numpy as np
import pytest

from cohortreg.errors import UserError
from cohortreg.learning.data import TrainingImages
from cohortreg.paper.data import EDGE, pack_dataset, read_fives, read_idx, shape_image

IDX = bytes([0, 0, 8, 2]) + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))


class Fixed:
    """A generator that draws given numbers in [0, 1), one after the other."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)

    def uniform(self, low, high):
        return low + (high - low) * self.numbers.pop(0)


def test_mnist_holds_the_known_number_of_fives(mnist):
    for split, count in (("train", 5421), ("test", 892)):
        fives = read_fives(mnist, split)
        assert fives.shape == (count, 28, 28)
        assert fives.min() == 0
        assert fives.max() == 1


def test_a_plain_and_a_compressed_file_are_the_same(tmp_path):
    (tmp_path / "plain").write_bytes(IDX)
    (tmp_path / "small.gz").write_bytes(gzip.compress(IDX))
    for name in ("plain", "small.gz"):
        assert read_idx(tmp_path / name).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("short", IDX[:-1], "holds 17 bytes, not 18"),
        ("short.gz", gzip.compress(IDX, mtime=0)[:-4], "cannot be read"),
        ("text", b"<html>", "is not an IDX file"),
    ],
)
def test_a_broken_file_ends_in_one_sentence(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_idx(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_without_mnist_a_sentence_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"https://ossci-datasets.*paper\.mnist"):
        read_fives(tmp_path, "train")


def test_a_circle_by_hand():
    """Radius .3 around (.5, .6): far in 1, far out -1, on the edge 0, and tanh(40 d) at a distance d from it."""
    circle = shape_image(101, Fixed(0.9, 0.5, 0, 1 / 3, 2 / 3))
    assert circle[50, 60] == pytest.approx(1)
    assert circle[0, 0] == pytest.approx(-1)
    assert circle[50, 30] == pytest.approx(0, abs=1e-5)
    assert circle[51 + 30, 60] == pytest.approx(math.tanh(-EDGE * 0.01), abs=1e-5)


def test_a_triangle_reaches_its_radius_at_three_corners_and_half_of_it_between():
    triangle = shape_image(401, Fixed(0.1, 1, 0, 1 / 3, 1 / 3))  # radius .4 around (.5, .5), not turned
    inside = np.argwhere(triangle > 0) / 400 - 0.5
    distances = np.hypot(*inside.T)
    assert distances.max() == pytest.approx(0.4, abs=0.01)
    area = 3 * math.sqrt(3) / 4 * 0.4**2
    assert len(inside) / 400**2 == pytest.approx(area, rel=0.01)


def test_images_follow_the_seed_and_splits_differ(layout, preset, tmp_path):
    arrays = []
    for seed in (1, 1, 2):
        pack_dataset(layout, "triangles_circles", preset, tmp_path, seed, lambda: None)
        arrays += [np.load(layout.packed("triangles_circles", split)) for split in ("train", "test")]
    train, test, again, _, other, _ = arrays
    assert (train.shape, test.shape) == ((6, 12, 12), (5, 12, 12))
    assert np.array_equal(train, again)
    assert not np.array_equal(train, other)
    assert not np.array_equal(train[:5], test)
    assert np.abs(train).max() <= 1


def test_a_packed_data_set_is_read_by_training(layout, preset, mnist):
    import torch

    pack_dataset(layout, "mnist", preset, mnist, 1, lambda: None)
    images = TrainingImages(
        layout.packed("mnist", "test"), layout.packed_index("mnist", "test"), torch.device("cpu")
    )
    assert images.batch(np.array([0, 4])).shape == (2, 1, 28, 28)
