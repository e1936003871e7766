"""Registration without regularity in one dimension (2.1), and four points that swap (Figure 4)."""

import numpy as np
import torch

from cohortreg.icon.objective import inverse_consistency
from cohortreg.maps.fields import DisplacementField
from cohortreg.maps.grids import identity_map

POINTS = 100


def example_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in [0, 1] and the values there of a moving function A and a fixed function B."""
    x = np.linspace(0, 1, POINTS)
    moving = np.exp(-(((x - 0.3) / 0.12) ** 2)) + 0.55 * np.exp(-(((x - 0.75) / 0.08) ** 2))
    fixed = 0.9 * np.exp(-(((x - 0.55) / 0.2) ** 2)) + 0.05
    return x, moving, fixed


def match_by_intensity(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """A minimiser of Eq. 2: for each point of the fixed function, the first point of nearest value in the moving one.

    Args:
        moving: [points].
        fixed: [points].

    Returns:
        The map as indices of points, [points]; several may share one.
    """
    return np.abs(moving[None] - fixed[:, None]).argmin(1)


def match_by_sorting(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The minimiser of Eq. 3 among permutations, optimal mass transport: both sorted, rank goes to rank."""
    matched = np.empty(len(fixed), int)
    matched[np.argsort(fixed, kind="stable")] = np.argsort(moving, kind="stable")
    return matched


def mean_squared_error(moving: np.ndarray, fixed: np.ndarray, matched: np.ndarray) -> float:
    """Mean of (A(phi(x)) - B(x))^2 over the points."""
    return float(np.mean((moving[matched] - fixed) ** 2))


def swapped_points() -> DisplacementField:
    """Four points of which the middle two swap places; the map and its inverse, which is the same.

    A map of [AB; BA] in unit coordinates, two points wide: constant along the second axis.
    """
    displacement = torch.zeros(2, 2, 4, 2, dtype=torch.float64)
    displacement[:, 0, 1], displacement[:, 0, 2] = 1 / 3, -1 / 3
    return DisplacementField(displacement)


def along_first_axis(x: np.ndarray) -> torch.Tensor:
    """Points [1, 2, points, 1] at x along the first axis, at 0 along the second."""
    points = torch.zeros(1, 2, len(x), 1, dtype=torch.float64)
    points[0, 0, :, 0] = torch.from_numpy(x)
    return points


def mapped(phi: DisplacementField, x: np.ndarray) -> np.ndarray:
    """The forward map's values at x along the first axis."""
    return phi(along_first_axis(x).expand(2, -1, -1, -1))[0, 0, :, 0].numpy()


def losses_on_and_off_grid(phi: DisplacementField) -> tuple[float, float]:
    """Inverse consistency of `swapped_points` at the four points, and at points that fill the axis evenly."""
    on_grid = inverse_consistency(phi, identity_map((4, 2), dtype=torch.float64))
    off_grid = inverse_consistency(phi, along_first_axis(np.linspace(0, 1, 400)))
    return on_grid.item(), off_grid.item()
