import numpy as np
import pytest

from cohortreg.images.geometry import canonical
from cohortreg.images.io import Image, read_label
from cohortreg.images.preprocess import normalised
from cohortreg.images.sides import AT_LEAST, GRID, SHIFT, small, wrong_sides
from cohortreg.phantoms.dess import dess


def people(count: int, seed: int = 1, lopsided: bool = True) -> list[np.ndarray]:
    """Two bones beside each other, of which the right one is thicker in lopsided people, a little different in each."""
    random = np.random.default_rng(seed)
    x, y, z = np.stack(np.meshgrid(*[np.arange(n) for n in GRID], indexing="ij")).astype(float)
    images = []
    for _ in range(count):
        middle, front = 15.5 + random.normal(0, 0.5), 15.5 + random.normal(0, 0.5)
        bones = np.zeros(GRID)
        for offset, radius in ((-6, 2.5), (6, 5.0 if lopsided else 2.5)):
            radius *= random.normal(1, 0.05)
            bones += np.hypot(x - middle - offset, y - front) < radius
        array = 150 * bones * (abs(z - 15.5) < 10) + random.normal(30, 8, GRID)
        images.append(array.clip(0, 255).astype(np.uint8))
    return images


def moved(image: np.ndarray, voxels: int) -> np.ndarray:
    """The image moved to the right; what is beyond the edge repeats it."""
    return np.take(image, np.clip(np.arange(len(image)) - voxels, 0, len(image) - 1), axis=0)


def test_no_right_one_is_accused():
    assert not wrong_sides(people(12)).any()


@pytest.mark.parametrize("wrong", [[0], [3, 7]])
def test_mirrored_ones_are_found_wherever_they_lie(wrong):
    """A scan that lies more to one side has its bones where a mirrored one has them."""
    images = [moved(image, (-1) ** n * SHIFT // 2) for n, image in enumerate(people(12))]
    for n in wrong:
        images[n] = images[n][::-1]
    assert np.flatnonzero(wrong_sides(images)).tolist() == wrong


def test_symmetric_people_tell_nothing():
    assert wrong_sides(people(12, lopsided=False)) is None


def test_few_images_tell_nothing():
    assert wrong_sides(people(AT_LEAST - 1)) is None
    assert wrong_sides(people(AT_LEAST)) is not None


def test_an_image_without_fine_structure_is_no_error():
    images = [*people(12), np.full(GRID, 7, np.uint8)]
    assert not wrong_sides(images).any()


def test_small_keeps_the_range_of_grey_values():
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[:, None, None] * np.ones((64, 48, 40), np.float32)
    there = small(Image(ramp, np.eye(4)))
    assert (there.shape, there.dtype) == (GRID, np.uint8)
    assert there[0].max() < 10 and there[-1].min() > 245 and 120 < there[16].mean() < 136


def test_a_real_knee_of_the_wrong_side(oai_labels):
    images = []
    for path in sorted(oai_labels.glob("*.nii.gz"))[:10]:
        label = read_label(path)
        part = Image(label.array[::4, ::4, ::4], label.affine @ np.diag([4, 4, 4, 1]))
        images.append(small(normalised(canonical(dess(part, 1, path.name)), (1, 99))[0]))
    assert not wrong_sides(images).any()
    images[4] = images[4][::-1]
    assert np.flatnonzero(wrong_sides(images)).tolist() == [4]
