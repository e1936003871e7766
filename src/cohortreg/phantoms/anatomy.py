"""Anatomy of a phantom knee: a label map from a seed and an identifier.

Every bone is a smooth union of ellipsoids and tapering shafts, written as a field that is negative inside
and grows about a millimetre a millimetre; cartilage is a layer of such a field over the part of the bone
that bears it. The fields are evaluated at points that pose, size and a smooth random warp have moved, so
that neighbouring structures change together and never overlap.

Coordinates are millimetres from the centre of the joint line of a right knee: x to the right (lateral), y to
the front, z up.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.spatial.transform import Rotation

from cohortreg.images.image import Image
from cohortreg.importers.split import generator

FEMUR, FEMORAL_CARTILAGE, TIBIA, TIBIAL_CARTILAGE, PATELLA = 1, 2, 3, 4, 5
JOINT_CENTRE = (0.5, 0.54, 0.37)  # where it lies in the field of view, as parts of it
RIGHT_OF_BODY = 70.0  # millimetres from the middle of the body to the middle of a right knee
GAP = 0.8  # millimetres between the two cartilages

Field = np.ndarray  # [i, j, k] float32, about a signed distance in millimetres, negative inside


#: Mean and spread of what differs between subjects; lengths in millimetres of a knee of middle size, angles in degrees.
POPULATION: dict[str, tuple[ArrayLike, ArrayLike]] = {
    "size": (1.0, 0.04),
    "rotation": ([0, 0, 0], [2.5, 2, 2.5]),  # of the whole knee about x, y, z
    "shift": ([0, 0, 0], [2, 2.2, 2.2]),  # of the whole knee along x, y, z
    "flexion": (4, 2.5),  # of the femur over the tibia
    "width": (1.0, 0.04),  # of the joint, as a factor
    "medial": ([15.5, 29, 24.5], [1, 1.8, 1.2]),  # radii of the medial condyle
    "lateral": ([16, 30, 24.5], [1, 1.8, 1.2]),  # radii of the lateral condyle
    "notch": (8, 1),  # half its width
    "groove": (4, 1),  # depth of the trochlear groove
    "femur_shaft": (14, 1.2),  # radius
    "tibia_shaft": (14, 1.2),  # radius
    "slope": (6, 2.5),  # of the tibial plateau to the back
    "eminence": (9, 1.5),  # height of the intercondylar eminence
    "tuberosity": (8, 1.5),  # prominence
    "patella": ([21, 11, 20.5], [1.5, 0.8, 1.8]),  # radii
    "patella_height": (36, 4),
    "femoral_cartilage": (3.0, 0.25),  # thickness
    "tibial_cartilage": (3.2, 0.3),  # thickness
}


class Knee(SimpleNamespace):
    """The quantities of `POPULATION` of one knee, and a smooth random warp of it.

    Attributes:
        warp_waves: [waves, 3] radians a millimetre.
        warp_weights: [3, waves] complex, millimetres.
    """

    @classmethod
    def draw(cls, random: np.random.Generator) -> "Knee":
        """Draw a knee of the population; every quantity is normal, cut off at two standard deviations."""

        def about(mean: ArrayLike, spread: ArrayLike) -> Any:
            centre = np.asarray(mean, dtype=float)
            return centre + np.asarray(spread) * np.clip(random.standard_normal(centre.shape), -2, 2)

        waves, per_axis = 24, 3
        wavelength = random.uniform(45, 110, size=(waves, 1))
        directions = random.standard_normal((waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        phases = random.uniform(0, 2 * np.pi, size=(per_axis, waves))
        # Long waves are higher, so that the warp stays smooth.
        heights = np.abs(about(np.zeros((per_axis, waves)), 1)) * (wavelength[:, 0] / 80)
        return cls(
            **{name: about(*numbers) for name, numbers in POPULATION.items()},
            warp_waves=2 * np.pi / wavelength * directions,
            warp_weights=0.48 * heights * np.exp(1j * phases),
        )


def anatomy(seed: int, identifier: str, side: str, grid: Sequence[int], spacing: Sequence[float]) -> Image:
    """Make the label map of a phantom knee: 1 femur, 2 femoral cartilage, 3 tibia, 4 tibial cartilage, 5 patella.

    Args:
        side: "left" or "right"; a left knee is the mirror image of the right one in the middle plane of the body.
        grid: Voxels along right, anterior, superior.
        spacing: Their size in millimetres.

    Returns:
        uint8 with an affine to RAS millimetres.
    """
    knee = Knee.draw(generator(seed, identifier, "anatomy"))
    size = np.asarray(spacing, dtype=float)
    origin = -(np.array(grid) * JOINT_CENTRE - 0.5) * size
    axes = [o + s * np.arange(n) for o, s, n in zip(origin, size, grid, strict=True)]
    labels = _label(knee, _into_knee(knee, axes), size)
    affine = np.diag([*size, 1.0])
    affine[:3, 3] = origin
    affine[0, 3] += RIGHT_OF_BODY
    if side == "left":
        labels = np.ascontiguousarray(labels[::-1])
        affine[0, 3] = -(affine[0, 3] + size[0] * (grid[0] - 1))
    return Image(labels, affine)


def _into_knee(knee: Knee, axes: Sequence[np.ndarray]) -> np.ndarray:
    """Points of the grid [3, i, j, k] in the coordinates of a knee of middle size, pose and shape."""
    points = np.stack(np.meshgrid(*[a.astype(np.float32) for a in axes], indexing="ij"))
    # A sum of plane waves is a product over the axes, which makes the warp cheap.
    waves = [np.exp(1j * np.outer(knee.warp_waves[:, axis], axes[axis])) for axis in range(3)]
    in_plane = np.einsum("wi,wj->ijw", waves[0], waves[1])
    for axis in range(3):
        points[axis] += (in_plane @ (knee.warp_weights[axis][:, None] * waves[2])).real
    rotation = Rotation.from_euler("xyz", knee.rotation, degrees=True).as_matrix() / knee.size
    points -= knee.shift.astype(np.float32)[:, None, None, None]
    return np.tensordot(rotation.astype(np.float32), points, axes=1)


def _label(knee: Knee, points: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Label map, uint8, of the knee at points [3, i, j, k] on a grid of that spacing."""
    femur_points = _flexed(knee, points)
    femur, notch = _femur(knee, femur_points)
    femur, normal = _distance(femur, spacing / knee.size)
    thickness = knee.femoral_cartilage * _femoral_bearing(femur_points, normal, notch)
    # Whatever faces the femur keeps clear of its cartilage, which also dishes the tibial plateau.
    room = knee.femoral_cartilage + GAP - femur
    tibia = np.maximum(_tibia(knee, points), room + knee.tibial_cartilage)
    tibia, tibia_normal = _distance(tibia, spacing / knee.size)
    patella = np.maximum(_patella(knee, points), room + 2.5)
    tibial = (tibia < knee.tibial_cartilage) & _tibial_bearing(knee, points, tibia_normal) & (room < 0)

    labels = np.zeros(femur.shape, dtype=np.uint8)
    labels[_largest(patella < 0)] = PATELLA
    for half in (points[0] < 0, points[0] >= 0):
        labels[_largest(tibial & half)] = TIBIAL_CARTILAGE
    labels[_largest(tibia < 0)] = TIBIA
    labels[_largest((femur >= 0) & (femur < thickness))] = FEMORAL_CARTILAGE
    labels[_largest(femur < 0)] = FEMUR
    return labels


def _flexed(knee: Knee, points: np.ndarray) -> np.ndarray:
    """Points in the femur's own frame: turned about the axis through both condyles."""
    angle = np.deg2rad(knee.flexion)
    y, z = points[1] + 4, points[2] - 25
    turned_y = np.cos(angle) * y - np.sin(angle) * z
    turned_z = np.sin(angle) * y + np.cos(angle) * z
    return np.stack([points[0] / knee.width, turned_y - 4, turned_z + 25])


def _femur(knee: Knee, points: np.ndarray) -> tuple[Field, Field]:
    """Condyles, trochlea, epicondyles and shaft, less the trochlear groove and the notch; and the notch."""
    x, y, z = points
    medial = _ellipsoid(points, (-21, -5, knee.medial[2]), knee.medial)
    lateral = _ellipsoid(points, (21, -4, knee.lateral[2]), knee.lateral)
    trochlea = _ellipsoid(points, (2, 13, 33), (27, 20, 20))
    epicondyles = _ellipsoid(points, (0, 1, 38), (38, 19, 17))
    flare = np.exp(-((np.maximum(z - 34, 0) / 22) ** 2))
    shaft = _shaft(x, y + 4 - 7 * (1 - flare), knee.femur_shaft + flare * 20, knee.femur_shaft + flare * 10)
    shaft = np.maximum(shaft, 34 - z)
    bone = _union(_union(_union(medial, lateral, 4), _union(trochlea, epicondyles, 8), 6), shaft, 8)
    groove = _shaft(x - 2, y - 33 - 13 + knee.groove, 13, 13)
    notch = _ellipsoid(points, (0, -22, 12), (knee.notch, 27, 27))
    return -_union(_union(-bone, groove, 6), notch, 3), notch


def _tibia(knee: Knee, points: np.ndarray) -> Field:
    """Plateau with its eminence, tapering to the shaft, and the tuberosity in front."""
    x, y, z = points
    top = -2 + np.tan(np.deg2rad(knee.slope)) * (y + 4)
    spines = np.exp(-(((np.abs(x) - 4) / 4.5) ** 2) - ((y + 2) / 11) ** 2)
    depth = np.maximum(top - z, 0)
    flare = np.exp(-((depth / 26) ** 1.6))
    wide = knee.tibia_shaft + flare * (39 * knee.width - knee.tibia_shaft)
    deep = knee.tibia_shaft + flare * (27 - knee.tibia_shaft)
    column = _shaft(x, y + 4 * flare, wide, deep, power=3)
    bone = -_union(-column, -(z - top - knee.eminence * spines), 4)
    tuberosity = _ellipsoid(points, (4, 10 + knee.tuberosity, -36), (10, 7, 14))
    return _union(bone, tuberosity, 5)


def _patella(knee: Knee, points: np.ndarray) -> Field:
    """An ellipsoid whose back is flattened to two facets."""
    centre = np.array([3, 37 + knee.patella[1], knee.patella_height])
    x, y = points[0] - centre[0], points[1] - centre[1]
    facets = -(y + 0.8 * knee.patella[1] - 0.2 * np.abs(x))
    return -_union(-_ellipsoid(points, centre, knee.patella), -facets, 3)


def _femoral_bearing(points: np.ndarray, normal: np.ndarray, notch: Field) -> Field:
    """1 where the femur bears cartilage, down to 0 at the edge: condyles below and behind, trochlea."""
    y, z = points[1] + 3, points[2] - 26
    upwards = (np.cos(np.deg2rad(100)) * y + np.sin(np.deg2rad(100)) * z) / np.hypot(y, z).clip(1e-3)
    around = (0.42 - upwards) / 0.15
    sideways = (0.82 - np.abs(normal[0])) / 0.15
    outside_notch = (notch - 1) / 2
    return np.clip(np.minimum(np.minimum(around, sideways), outside_notch), 0, 1)


def _tibial_bearing(knee: Knee, points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Whether a point is over the part of the plateau that bears cartilage, medial or lateral."""
    x, y, z = points[0] / knee.width, points[1], points[2]
    medial = ((x + 21.5) / 13.5) ** 2 + ((y + 5) / 20) ** 2 < 1
    lateral = ((x - 21.5) / 13.5) ** 2 + ((y + 6) / 18) ** 2 < 1
    return (medial | lateral) & (z > -15) & (normal[2] > 0.7)


def _ellipsoid(points: np.ndarray, centre: ArrayLike, radii: ArrayLike) -> Field:
    """About the distance to an ellipsoid (first order at its surface)."""
    middle, axes = (np.asarray(v, dtype=np.float32)[:, None, None, None] for v in (centre, radii))
    scaled = (points - middle) / axes
    length = np.sqrt((scaled**2).sum(0))
    gradient = np.sqrt(((scaled / axes) ** 2).sum(0)).clip(1e-3)
    return length * (length - 1) / gradient


def _shaft(x: Field, y: Field, wide: Field | float, deep: Field | float, power: float = 2.0) -> Field:
    """About the distance to an upright column of superelliptic section with half axes `wide` and `deep`."""
    length = (np.abs(x / wide) ** power + np.abs(y / deep) ** power) ** (1 / power)
    return (length - 1) * np.minimum(wide, deep)


def _union(one: Field, other: Field, blend: float) -> Field:
    """Union of two fields, rounded over `blend` millimetres where they meet (polynomial smooth minimum)."""
    part = np.clip(0.5 + (other - one) / (2 * blend), 0, 1)
    return other + (one - other) * part - blend * part * (1 - part)


def _distance(field: Field, spacing: np.ndarray) -> tuple[Field, np.ndarray]:
    """The field made a distance to first order at its surface, and its unit gradient [3, i, j, k]."""
    gradient = np.stack(np.gradient(field, *spacing)).astype(np.float32)
    length = np.sqrt((gradient**2).sum(0)).clip(0.2)
    return field / length, gradient / length


def _largest(mask: np.ndarray) -> np.ndarray:
    """The mask's largest component of voxels that share a face, edge or corner."""
    components, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if count < 2:
        return mask
    return components == np.bincount(components.ravel())[1:].argmax() + 1
