"""Placement of the labels of points, so that they cover nothing."""

from collections.abc import Sequence

import numpy as np

# To the right and to the left of the point first, then above and below, then between; ever further away.
DIRECTIONS = np.array(
    [
        *([1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]),
        *([1, 0.5], [1, -0.5], [-1, 0.5], [-1, -0.5], [0.5, 1], [0.5, -1], [-0.5, 1], [-0.5, -1]),
    ]
)
STEPS = (1, 2, 3, 5, 7, 10, 14, 18, 23)


def place(
    points: np.ndarray, sizes: Sequence[tuple[float, float]], taken: np.ndarray, area: np.ndarray, gap: float
) -> np.ndarray:
    """Centres of labels, [n, 2]: each at the nearest place where it covers least of what is taken.

    All is in one unit, such as pixels.

    Args:
        points: [n, 2].
        sizes: Width and height of each point's label.
        taken: Boxes to be left free, [m, 4], as left, bottom, right, top.
        area: The box that labels stay in.
        gap: The least distance between a point and its label.
    """
    centres = []
    for point, size in zip(points, np.asarray(sizes, dtype=float), strict=True):
        away = np.concatenate([DIRECTIONS * (step * gap + size / 2) for step in STEPS])
        boxes = np.concatenate([point + away - size / 2, point + away + size / 2], axis=1)
        covered = overlap(boxes, taken).sum(axis=1)
        outside = size.prod() - overlap(boxes, area[None])[:, 0]
        # Rounding, or a place further away would be better by nothing.
        best = (covered + outside).round(6).argmin()
        centres.append(point + away[best])
        taken = np.concatenate([taken, boxes[best : best + 1]])
    return np.array(centres)


def overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Areas [n, m] that n boxes [n, 4] share with m others [m, 4]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(axis=-1)
