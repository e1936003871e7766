"""An image with the contrast of a DESS scan (dual echo steady state, water excitation) from any label map.

Cartilage and fluid are bright, marrow and fat dark grey, muscle between, cortical bone, menisci and air
nearly black. What the label map does not show, soft tissue and the outline of the leg, is put around its
structures from the distance to them, so that a registration has something to see everywhere.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from cohortreg.images.image import Image
from cohortreg.importers.split import generator

# Mean of each tissue, where fluid is 1, and the standard deviation of its texture; values of the
# Osteoarthritis Initiative's label maps. Lesions (7 to 9) are oedema: brighter than the marrow around them.
CARTILAGE, MARROW, LESION = (0.72, 0.03), (0.27, 0.035), (0.4, 0.05)
BONES = (1, 3, 5)
TISSUES = (
    dict.fromkeys(BONES, MARROW) | dict.fromkeys((2, 4, 6), CARTILAGE) | dict.fromkeys((7, 8, 9), LESION)
)
OTHER_LABEL = (0.5, 0.04)  # a label that is not in the table
FEMORAL_CARTILAGE, TIBIAL_CARTILAGE = 2, 4
AIR, SKIN, FAT, MUSCLE, FLUID, MENISCUS = 0.0, 0.5, 0.17, 0.42, 1.0, 0.1
CORTEX = 0.35  # the dark shell of a bone, as a part of its marrow
SOFT_TEXTURE = 0.02

SOFT_TISSUE_GRID = 1.5  # millimetres; soft tissue is smooth, so that it is worked out on a coarser grid
SOFT_TISSUE = (8.0, 18.0, 28.0)  # millimetres of it in front of, beside and behind the structures
SKIN_DEPTH, FAT_DEPTH = 2.0, 6.5  # millimetres below the outline
PARTIAL_VOLUME = 0.55  # standard deviation of the blur, in voxels: about the response of a voxel's box
BIAS = 0.12  # standard deviation of the bias field's logarithm
NOISE = 0.02  # standard deviation of the noise in each of the two channels
SCALE = 400.0  # grey value of fluid


def dess(label: Image, seed: int, identifier: str) -> Image:
    """Make a scan of the anatomy in `label`, which may have any values and any grid.

    Tissue means (varied by a few percent from scan to scan) and textures, blurred for partial volume, times
    a smooth bias field, under Rician noise. The scan follows from label, seed and identifier.

    Returns:
        Whole numbers as float32 on the label's grid.
    """
    random = generator(seed, identifier, "dess")
    spacing = label.spacing
    means, spreads = _tissues(label.array, random)
    outside = label.array == 0
    means[outside] = _soft_tissue(label.array, spacing, random)[outside]
    spreads[outside] = SOFT_TEXTURE * (means[outside] > 0.05)
    means += spreads * _texture(label.shape, 1.2 / spacing, random)
    means = ndimage.gaussian_filter(means, PARTIAL_VOLUME)
    means *= _bias_field(label.shape, spacing, random)
    scan = _rician(means, NOISE, random)
    return Image(np.rint(SCALE * scan, dtype=np.float32), label.affine)


def _tissues(labels: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and spread of the tissue in each voxel, float32; 0 where there is no label."""
    means, spreads = np.zeros(labels.shape, np.float32), np.zeros(labels.shape, np.float32)
    drift: dict[tuple[float, float], float] = {}
    for value in np.unique(labels).tolist():
        if value == 0:
            continue
        tissue = TISSUES.get(value, OTHER_LABEL)
        # One draw a tissue, not a label: the marrow of femur and tibia is of one person.
        factor = drift.setdefault(tissue, 1 + 0.04 * random.standard_normal())
        there = labels == value
        means[there], spreads[there] = tissue[0] * factor, tissue[1]
    for value in BONES:
        bone = labels == value
        means[bone & ~ndimage.binary_erosion(bone, border_value=1)] *= CORTEX
    return means, spreads


def _soft_tissue(labels: np.ndarray, spacing: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mean of what surrounds the structures, float32 [i, j, k], worked out on a coarser grid."""
    steps = np.maximum(np.floor(SOFT_TISSUE_GRID / spacing), 1).astype(int)
    coarse = labels[tuple(slice(None, None, step) for step in steps)]
    size = spacing * steps
    depth = _depth_below_skin(coarse, size, random)
    muscle = 1 / (1 + np.exp(-_texture(coarse.shape, 9 / size, random) - _backness(coarse, size) / 8))
    inner = FAT + (MUSCLE - FAT) * muscle
    soft = np.select([depth < 0, depth < SKIN_DEPTH, depth < FAT_DEPTH], [AIR, SKIN, FAT], inner)
    soft = _joint(coarse, size, soft, random)
    return _refined(soft.astype(np.float32), labels.shape, steps)


def _depth_below_skin(labels: np.ndarray, size: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Millimetres below the outline of the leg, negative outside: a smooth hull around the structures."""
    if not labels.any():
        return np.full(labels.shape, np.inf, np.float32)
    away = ndimage.distance_transform_edt(labels == 0, sampling=size).astype(np.float32)
    away = ndimage.gaussian_filter(away, 6 / size, mode="nearest")
    front, beside, behind = SOFT_TISSUE
    thickness = np.clip(beside + 0.25 * _backness(labels, size), front, behind)
    return thickness - away + 1.2 * _texture(labels.shape, 15 / size, random)


def _backness(labels: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Millimetres behind the middle of the structures, [1, j, 1]: muscle lies there, the fat pad in front."""
    filled = np.flatnonzero(labels.any(axis=(0, 2)))
    middle = filled.mean() if filled.size else labels.shape[1] / 2
    return ((middle - np.arange(labels.shape[1])) * size[1])[None, :, None]


def _joint(labels: np.ndarray, size: np.ndarray, soft: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Put menisci between the cartilages' margins and a film of fluid over them, where the map has both."""
    femoral, tibial = labels == FEMORAL_CARTILAGE, labels == TIBIAL_CARTILAGE
    if not (femoral.any() and tibial.any()):
        return soft
    to_femoral = ndimage.distance_transform_edt(~femoral, sampling=size)
    to_tibial = ndimage.distance_transform_edt(~tibial, sampling=size)
    film = 1.5 + 0.5 * _texture(labels.shape, 8 / size, random)
    soft = np.where(to_femoral < film, FLUID, soft)
    return np.where((to_femoral < 6) & (to_tibial < 6) & (to_femoral + to_tibial < 8), MENISCUS, soft)


def _refined(coarse: np.ndarray, shape: Sequence[int], steps: np.ndarray) -> np.ndarray:
    """Linear interpolation from every `steps`-th voxel to all voxels, one axis at a time."""
    for axis, (n, step) in enumerate(zip(shape, steps, strict=True)):
        if step > 1:
            at = np.minimum(np.arange(n) / step, coarse.shape[axis] - 1)
            low = np.minimum(at.astype(int), coarse.shape[axis] - 2)
            part = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            low_values, high_values = np.take(coarse, low, axis), np.take(coarse, low + 1, axis)
            coarse = low_values + part * (high_values - low_values)
    return coarse


def _texture(shape: Sequence[int], width: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1, float32, with grains of a width in voxels along each axis."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape, dtype=np.float32), width, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _bias_field(shape: Sequence[int], spacing: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The coil's smooth sensitivity, float32: the exponential of a few waves longer than the view."""
    logarithm = np.zeros(shape, np.float32)
    for _ in range(3):
        direction = random.standard_normal(3)
        turns = direction / np.linalg.norm(direction) / random.uniform(180, 320)
        angles = [2 * np.pi * t * s * np.arange(n) for t, s, n in zip(turns, spacing, shape, strict=True)]
        phase = random.uniform(0, 2 * np.pi)
        i, j, k = np.ix_(*[a.astype(np.float32) for a in angles])
        logarithm += np.cos(i + j + k + np.float32(phase))
    return np.exp(BIAS / np.sqrt(1.5) * logarithm)


def _rician(signal: np.ndarray, noise: float, random: np.random.Generator) -> np.ndarray:
    """Magnitude of a complex signal whose two channels have Gaussian noise (Gudbjartsson and Patz, 1995)."""
    real = signal + noise * random.standard_normal(signal.shape, dtype=np.float32)
    return np.hypot(real, noise * random.standard_normal(signal.shape, dtype=np.float32))
