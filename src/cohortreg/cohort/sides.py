"""Images of the wrong side: those whose mirror image looks more like the rest of the cohort than they do.

Every image, small and of one side by its own account, is compared with the mean of all others: once as it is, once
mirrored. Both may be moved by a few voxels first, since a patient who lay more to one side is no mirrored patient; only
fine structure counts, since the outline of a limb is nearly symmetric and its place in the field of view is chance.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from cohortreg.images.geometry import resampled
from cohortreg.images.io import Image

GRID = (32, 32, 32)
AT_LEAST = 8  # images; the mean of fewer is too much of a person
FINE = 2.0  # voxels; what is smoother than a Gaussian of this deviation does not count
SHIFT = 4  # voxels along each axis that an image may be moved
ROUNDS = 3  # in each the images are moved, and those of the wrong side left out, as found in the last
# Differences of correlations; see `wrong_sides`.
CLEAR = 0.08
PART = 1 / 3  # of what a typical image gains by not being mirrored


def small(image: Image) -> np.ndarray:
    """What `wrong_sides` needs of a canonical image with values from 0 to 1: uint8 [32, 32, 32]."""
    return np.rint(255 * resampled(image, GRID).array.clip(0, 1)).astype(np.uint8)


def wrong_sides(images: Sequence[np.ndarray]) -> np.ndarray | None:
    """Which of the images are more like the others when mirrored along their first axis, bool [n].

    images: of `small`, canonical, mirrored where preprocessing would.

    None where the images do not tell: fewer than `AT_LEAST`, or the typical (median) image correlates with the mean of
    the others by less than `CLEAR` better than its mirror image does; the anatomy is too symmetric then, or too varied.
    An image is wrong if its mirror image is better by more than `PART` of what the typical one's is worse by.

    MEASURED
    """
    if len(images) < AT_LEAST:
        return None
    gain = mirror_gain(images)
    typical = -float(np.median(gain))
    return gain > PART * typical if typical >= CLEAR else None


def mirror_gain(images: Sequence[np.ndarray]) -> np.ndarray:
    """By how much the mirror image of each correlates better with the mean of all others than itself, [n]."""
    shifts = np.zeros((len(images), 3), dtype=int)
    kept = np.ones(len(images), dtype=bool)
    gain = np.zeros(len(images))
    for _ in range(ROUNDS):
        total = sum(moved for moved, keep in zip(_moved(images, shifts), kept, strict=True) if keep)
        # A list, since the shifts change only when all are compared with one mean.
        found = []
        for image, moved, keep in zip(images, _moved(images, shifts), kept, strict=True):
            others, fine = total - keep * moved, _fine(image)
            found.append((_best(fine, others), _best(fine[::-1], others)))
        gain = np.array([mirror[0] - itself[0] for itself, mirror in found])
        shifts = np.array([itself[1] for itself, _ in found])
        # Where most are accused, nothing is known about any.
        kept = gain <= 0 if (gain <= 0).sum() > len(images) / 2 else kept
    return gain


def _moved(images: Sequence[np.ndarray], shifts: np.ndarray) -> Iterator[np.ndarray]:
    """Fine structure of each image, moved; made when it is asked for, since of all images it would fill the memory."""
    return (np.roll(_fine(image), shift, (0, 1, 2)) for image, shift in zip(images, shifts, strict=True))


def _fine(image: np.ndarray) -> np.ndarray:
    """Fine structure, float32 of norm 1, fading to the edges: what is moved over one comes in at the opposite."""
    values = image.astype(np.float32)
    values -= gaussian_filter(values, FINE)
    for axis, size in enumerate(image.shape):
        fading = np.sqrt(np.hanning(size + 2)[1:-1]).astype(np.float32)
        values *= fading.reshape([-1 if a == axis else 1 for a in range(3)])
    norm = np.linalg.norm(values)
    return values / norm if norm else values


def _best(image: np.ndarray, reference: np.ndarray) -> tuple[float, tuple[int, ...]]:
    """The highest correlation with the reference over all shifts of the image up to `SHIFT`, and that shift."""
    spectrum = np.fft.rfftn(reference / (np.linalg.norm(reference) or 1)) * np.fft.rfftn(image).conj()
    correlation = np.fft.irfftn(spectrum, image.shape, axes=(0, 1, 2))
    near = np.r_[0 : SHIFT + 1, -SHIFT:0]
    correlation = correlation[np.ix_(near, near, near)]
    at = np.unravel_index(correlation.argmax(), correlation.shape)
    return float(correlation[at]), tuple(int(near[i]) for i in at)
