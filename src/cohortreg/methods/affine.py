"""Affine registration with SimpleITK: mutual information (Mattes), multi-resolution."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import SimpleITK as sitk
import torch

from cohortreg.images.io import Image
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import Grid, apply_affine
from cohortreg.methods.interface import Registration


class Affine:
    """Mattes mutual information over three resolutions, from the images' centres.

    It runs in the images' voxels scaled by their spacing, without origin and direction, so that it starts where
    every method starts: voxel on voxel.
    """

    version = "affine-2"
    similarity = "MI"

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        with _one_thread():
            transform = self._optimise(_scaled(moving), _scaled(fixed))
        matrix = np.eye(4)
        linear = np.reshape(transform.GetMatrix(), (3, 3))
        centre = np.array(transform.GetCenter())
        matrix[:3, :3] = linear
        matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
        return Registration(
            _displacement(matrix, moving, fixed), _displacement(np.linalg.inv(matrix), fixed, moving)
        )

    def _optimise(self, moving: sitk.Image, fixed: sitk.Image) -> sitk.AffineTransform:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(0.5, self.seed)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0, minStep=1e-4, numberOfIterations=200, gradientMagnitudeTolerance=1e-8
        )
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        start = sitk.AffineTransform(3)
        start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
        method.SetInitialTransform(start, inPlace=True)
        method.Execute(fixed, moving)
        return start


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK on one thread, also in what a method starts itself: sums over threads differ in their last digits."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _spacing(image: Image) -> np.ndarray:
    """Size of a voxel along each axis of the array, millimetres."""
    return np.linalg.norm(image.affine[:3, :3], axis=0)


def _scaled(image: Image) -> sitk.Image:
    """The image in voxels times spacing."""
    scaled = sitk.GetImageFromArray(np.ascontiguousarray(image.array.T, dtype=np.float32))
    scaled.SetSpacing(_spacing(image).tolist())
    return scaled


def _displacement(matrix: np.ndarray, moving: Image, fixed: Image) -> torch.Tensor:
    """Displacement in unit coordinates of a matrix between voxels times spacing."""
    moving_grid, fixed_grid = (
        Grid(image.array.shape, np.diag([*_spacing(image), 1.0])) for image in (moving, fixed)
    )
    # The turn from RAS to LPS is on both sides and cancels.
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    unit = np.linalg.inv(moving_grid.unit_to_lps) @ to_lps @ matrix @ to_lps @ fixed_grid.unit_to_lps
    centres = identity_map(fixed.array.shape, dtype=torch.float64)
    return (apply_affine(unit, centres) - centres).float()
