"""SyN (Avants et al. 2008) by ANTs: cross-correlation, with its own affine registration before."""

import json
import os
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from cohortreg.config import MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.images.image import Image
from cohortreg.maps.imaged import imaged
from cohortreg.maps.transforms import Transform, read_transform
from cohortreg.methods.interface import Registration, on_whole_grid
from cohortreg.methods.programs import last_line
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Number, Whole

if TYPE_CHECKING:
    import ants


class Syn:
    """Symmetric normalisation on local cross-correlation, after ANTs' own affine registration of the same images.

    The affine part starts with the images' centres of mass, as ANTs does. The same pair and seed give the same map on
    the same number of threads, and nearly the same on another; with `affine_metric: mattes` only one thread does, since
    ANTs sums that up in the order in which threads finish. ANTs takes the number of threads at its first use in a
    process and keeps it.
    """

    similarity = "CC"

    class Settings(MethodSettings):
        """Settings of the row syn."""

        iterations: list[Annotated[Whole, Field(ge=0)]] = Field(
            [80, 50, 20],
            min_length=1,
            description="maximum iterations at each resolution, each twice the previous one, the last the images' own",
        )
        radius: Whole = Field(
            4,
            ge=1,
            description="radius of the cube that correlation is computed in, in voxels of the resolution",
        )
        gradient_step: Number = Field(0.2, gt=0, description="step along the gradient")
        flow_sigma: Number = Field(
            3,
            ge=0,
            description="variance of the Gaussian that smooths each update, in squared voxels of the resolution",
        )
        total_sigma: Number = Field(
            0.1, ge=0, description="the same for the whole field, after each iteration"
        )
        affine_metric: Literal["GC", "mattes"] = Field(
            "GC",
            description="what the affine part maximises: GC, global correlation, or mattes, mutual information",
        )

    def __init__(self, settings: Settings, seed: int, threads: int):
        if find_spec("ants") is None:
            raise UserError("the package ants is not installed; run make baselines")
        os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
        import ants

        self.ants = ants
        self.settings = settings
        self.seed = seed
        parts = [settings.whole(), seed, version("antspyx")]
        self.version = digest(PAIRWISE["syn"].release, json.dumps(parts, sort_keys=True))

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        target, source = (self._to_ants(imaged(image, fixed.affine)) for image in (fixed, moving))
        with TemporaryDirectory() as folder:
            try:
                files = self._register(target, source, folder)
                # One file has the affine map, for both directions: forward it comes after the warp, back before.
                forward = self._composed(target, source, files["fwdtransforms"], [False, False], folder)
                inverse = self._composed(source, target, files["invtransforms"], [True, False], folder)
            except RuntimeError as error:
                raise UserError(f"ANTs failed: {last_line(str(error))}") from error
        fields = (forward, inverse)
        return Registration(*(on_whole_grid(f, fixed.grid, "ANTs", "lower gradient_step") for f in fields))

    def _register(
        self, fixed: "ants.ANTsImage", moving: "ants.ANTsImage", folder: str
    ) -> dict[str, list[str]]:
        """Register ANTs' images; the files of the transforms, as `ants.registration` names them."""
        # ANTs reads it at each registration.
        os.environ["ANTS_RANDOM_SEED"] = str(self.seed)
        return self.ants.registration(
            fixed,
            moving,
            type_of_transform="SyN",
            outprefix=str(Path(folder) / "syn"),
            aff_metric=self.settings.affine_metric,
            syn_metric="CC",
            syn_sampling=self.settings.radius,
            reg_iterations=tuple(self.settings.iterations),
            grad_step=self.settings.gradient_step,
            flow_sigma=self.settings.flow_sigma,
            total_sigma=self.settings.total_sigma,
        )

    def _composed(
        self,
        like: "ants.ANTsImage",
        image: "ants.ANTsImage",
        files: list[str],
        inverted: list[bool],
        folder: str,
    ) -> Transform:
        """A sequence of ANTs' transforms as one displacement field on the grid of the image `like`."""
        prefix = str(Path(folder) / "whole")
        path = self.ants.apply_transforms(like, image, files, whichtoinvert=inverted, compose=prefix)
        return read_transform(Path(path))

    def _to_ants(self, image: Image) -> "ants.ANTsImage":
        """ANTs' image, of float32."""
        array, grid = np.ascontiguousarray(image.array, dtype=np.float32), image.grid
        where = grid.origin.tolist(), grid.spacing.tolist(), grid.direction
        return self.ants.from_numpy(array, *where)
