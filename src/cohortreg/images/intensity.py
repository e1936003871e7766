"""Grey values."""

from collections.abc import Sequence

import numpy as np

from cohortreg.errors import BadImage
from cohortreg.images.image import Image


def normalised(image: Image, percentiles: Sequence[float]) -> tuple[Image, tuple[float, float]]:
    """The image with its lower percentile at 0, its upper at 1, clamped (paper, 4.1), and the two values.

    Raises:
        BadImage: Both percentiles have one value, so that nothing is left between them, or are further apart than
            float32 can say.
    """
    low, high = (float(value) for value in np.percentile(image.array, percentiles))
    if low == high:
        raise BadImage(
            f"percentiles {percentiles[0]:g} and {percentiles[1]:g} are both {low:g}, so that almost every "
            "voxel has one value; crop the image to its subject, or leave it out."
        )
    if not np.isfinite(np.float32(high - low)) or not np.float32(high - low):
        raise BadImage(
            f"percentiles {percentiles[0]:g} and {percentiles[1]:g} are {low:g} and {high:g}, further apart or closer "
            "than single precision can resolve; multiply the image by a constant."
        )
    array = np.clip((image.array - np.float32(low)) / np.float32(high - low), 0, 1)
    return Image(array.astype(np.float32, copy=False), image.affine), (low, high)
