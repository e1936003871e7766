"""Demons with SimpleITK: mean squared difference, symmetric forces, multi-resolution, after an affine map."""

import json
from typing import Annotated

import SimpleITK as sitk
from pydantic import Field

from cohortreg.config import MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.images.image import Image
from cohortreg.images.itk import to_sitk
from cohortreg.maps.imaged import imaged
from cohortreg.maps.transforms import field_of
from cohortreg.methods.affine import Affine
from cohortreg.methods.interface import Registration, on_whole_grid
from cohortreg.methods.programs import last_line
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Flag, Number, Whole


class Demons:
    """Fast symmetric forces demons (Thirion 1998; Vercauteren et al. 2009) of images that an affine map brought close.

    The map is A(x + u(x)): demons find u between the fixed image and the moving one resampled by A. So the smoothing of
    the displacement never touches A. It has no inverse of its own. The same pair and seed give the same map whatever
    the number of threads.
    """

    similarity = "MSE"

    class Settings(MethodSettings):
        """Settings of the row demons."""

        affine: Flag = Field(
            True, description="start from the affine registration of the row affine, at its default settings"
        )
        match_histograms: Flag = Field(
            True,
            description="first match the moving image's histogram to the fixed image's, since MSE assumes the same "
            "tissue to be equally bright",
        )
        iterations: list[Annotated[Whole, Field(ge=0)]] = Field(
            [200, 100, 50],
            min_length=1,
            description="iterations at each resolution, each twice the previous one, the last the images' own",
        )
        sigma: Number = Field(
            1.2,
            ge=0,
            description="standard deviation of the Gaussian that smooths the field after each iteration, in voxels of "
            "the resolution",
        )
        update_sigma: Number = Field(
            0, ge=0, description="the same for each iteration's update, before it is added"
        )

    def __init__(self, settings: Settings, seed: int, threads: int):
        self.settings = settings
        self.threads = threads
        self.affine = Affine(Affine.Settings(), seed, threads) if settings.affine else None
        parts = [settings.whole(), self.affine.version if self.affine else None]
        self.version = digest(PAIRWISE["demons"].release, json.dumps(parts, sort_keys=True))

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        parts = [imaged(image, fixed.affine) for image in (moving, fixed)]
        moving_image, fixed_image = (to_sitk(part.array, part.grid) for part in parts)
        affine = sitk.Transform(fixed_image.GetDimension(), sitk.sitkIdentity)
        if self.affine:
            affine = self.affine.optimise(*parts)
        try:
            if self.settings.match_histograms:
                moving_image = sitk.HistogramMatching(
                    moving_image, fixed_image, numberOfHistogramLevels=256, numberOfMatchPoints=15
                )
            moved = _resample(moving_image, fixed_image, affine)
            field = sitk.DisplacementFieldTransform(self._demons(moved, fixed_image))
        except RuntimeError as error:
            raise UserError(f"SimpleITK's demons failed: {last_line(str(error))}") from error
        # The one added last comes first.
        transform = field_of(sitk.CompositeTransform([affine, field]), imaged(fixed, fixed.affine).grid)
        return Registration(on_whole_grid(transform, fixed.grid, "SimpleITK's demons", "raise sigma"), None)

    def _demons(self, moving: sitk.Image, fixed: sitk.Image) -> sitk.Image:
        """Displacement field between images of one grid, resolution by resolution."""
        filter_ = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        filter_.SetNumberOfThreads(self.threads)
        filter_.SetSmoothDisplacementField(self.settings.sigma > 0)
        filter_.SetStandardDeviations(self.settings.sigma)
        filter_.SetSmoothUpdateField(self.settings.update_sigma > 0)
        filter_.SetUpdateFieldStandardDeviations(self.settings.update_sigma)
        # Sums over threads differ in their last digits, so no sum may decide when to stop.
        filter_.SetMaximumRMSError(0)
        levels = len(self.settings.iterations)
        field = sitk.Image(fixed.GetSize(), sitk.sitkVectorFloat64)
        field.CopyInformation(fixed)
        for level, iterations in zip(range(levels - 1, -1, -1), self.settings.iterations, strict=True):
            coarse_moving, coarse_fixed = (_coarse(image, 2**level) for image in (moving, fixed))
            field = _resample(field, coarse_fixed)
            filter_.SetNumberOfIterations(iterations)
            field = filter_.Execute(coarse_fixed, coarse_moving, field)
        return field


def _coarse(image: sitk.Image, factor: int) -> sitk.Image:
    """Downsample an image, after smoothing by half a new voxel."""
    if factor == 1:
        return image
    smooth = sitk.DiscreteGaussian(
        image, variance=[(factor / 2) ** 2] * image.GetDimension(), useImageSpacing=False
    )
    return sitk.Shrink(smooth, [min(factor, size) for size in image.GetSize()])


def _resample(image: sitk.Image, like: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Linear interpolation on another grid; outside the image, the value at its border."""
    transform = transform or sitk.Transform(image.GetDimension(), sitk.sitkIdentity)
    return sitk.Resample(image, like, transform, sitk.sitkLinear, 0.0, image.GetPixelID(), True)
