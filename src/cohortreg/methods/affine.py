"""Affine registration with SimpleITK: mutual information (Mattes), multi-resolution."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk
from pydantic import Field

from cohortreg.config import MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.images.image import Image
from cohortreg.images.itk import to_sitk
from cohortreg.maps.imaged import imaged
from cohortreg.maps.transforms import displacement_in_unit, field_of
from cohortreg.methods.interface import Registration
from cohortreg.methods.programs import last_line
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Number, Whole

#: Voxels along an axis that ITK's recursive smoothing takes.
FEWEST = 4


class Affine:
    """Regular-step gradient descent on Mattes mutual information, coarse to fine.

    The same pair and seed give the same map whatever the number of threads: ITK's metric sums over threads in the
    order in which they finish, so that it gets one.
    """

    similarity = "MI"

    class Settings(MethodSettings):
        """Settings of the row affine."""

        levels: Whole = Field(
            3, ge=1, description="resolutions, each twice the previous one, the last the images' own"
        )
        iterations: Whole = Field(
            200, ge=1, description="maximum number of optimiser steps at each resolution"
        )
        bins: Whole = Field(32, ge=5, description="bins of each image's histogram")
        sampling: Number = Field(
            0.5, gt=0, le=1, description="fraction of the voxels that the similarity is computed from"
        )

    def __init__(self, settings: Settings, seed: int, threads: int):
        self.settings = settings
        self.seed = seed
        self.version = digest(
            PAIRWISE["affine"].release, json.dumps([settings.whole(), seed], sort_keys=True)
        )

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        parts = (imaged(image, fixed.affine) for image in (moving, fixed))
        affine = self.optimise(*(to_sitk(part.array, part.grid) for part in parts))
        forward, inverse = (
            displacement_in_unit(field_of(transform, fixed.grid), fixed.grid)
            for transform in (affine, affine.GetInverse())
        )
        return Registration(forward, inverse)

    def optimise(self, moving: sitk.Image, fixed: sitk.Image) -> sitk.AffineTransform:
        """The map from the fixed to the moving image, LPS millimetres, from voxel on voxel.

        Raises:
            UserError: The grid is smaller than ITK's smoothing takes, or ITK gives up, for instance because nothing of
                the images overlaps any more.
        """
        if min(fixed.GetSize()) < FEWEST:
            raise UserError(
                f"images of {' x '.join(map(str, fixed.GetSize()))} voxels are too small for the affine registration; "
                f"give {FEWEST} voxels or more along each axis."
            )
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(self.settings.bins)
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(self.settings.sampling, self.seed)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0,
            minStep=1e-4,
            numberOfIterations=self.settings.iterations,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScalesFromPhysicalShift()
        coarse_to_fine = range(self.settings.levels - 1, -1, -1)
        method.SetShrinkFactorsPerLevel([2**level for level in coarse_to_fine])
        method.SetSmoothingSigmasPerLevel(list(coarse_to_fine))
        method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
        affine = sitk.AffineTransform(fixed.GetDimension())
        affine.SetCenter(
            fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
        )
        method.SetInitialTransform(affine, inPlace=True)
        with _one_thread():
            try:
                method.Execute(fixed, moving)
            except RuntimeError as error:
                reason = re.sub(r"^(ITK ERROR: )?(\w+\(0x\w+\): )?", "", last_line(str(error)))
                raise UserError(f"SimpleITK found no affine map: {reason}") from error
        return affine


@contextmanager
def _one_thread() -> Iterator[None]:
    """ITK on one thread, also in what a method starts itself: sums over threads differ in their last digits."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
