"""The affine row beside SimpleITK's registration and NiftyReg's reg_aladin, pair by pair in turn, on training subjects.

python benchmarks/affine.py RESULTS OUTPUT.csv [--images 13] [--way affine --way itk ...]

RESULTS is a cohort's folder with preprocessed images and labels, such as results/hippocampus. The pairs are neighbours
among its last training images; no test pair is looked at. One thread; processor time, of reg_aladin's process as well.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from fit import dice, processor_seconds, read

from cohortreg.cohort.tables import read_table
from cohortreg.files import whole
from cohortreg.images.grid import matrix_in_lps
from cohortreg.images.image import Image
from cohortreg.images.io import read_label, write_image
from cohortreg.images.itk import to_sitk
from cohortreg.layout import Layout
from cohortreg.learning.devices import use_processor
from cohortreg.maps.imaged import imaged
from cohortreg.maps.matrices import from_matrix
from cohortreg.maps.transforms import field_of
from cohortreg.methods import affine
from cohortreg.methods.programs import niftyreg, run
from cohortreg.provenance import hardware

Way = Callable[[Image, Image], sitk.Transform]


def itk(moving: Image, fixed: Image) -> sitk.Transform:
    """The row until release affine-3: gradient descent on Mattes mutual information, up to the images' resolution."""
    moving_image, fixed_image = (to_sitk(image.array, image.grid) for image in (moving, fixed))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.5, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, gradientMagnitudeTolerance=1e-8)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    found = sitk.AffineTransform(fixed_image.GetDimension())
    found.SetCenter(fixed.grid.points((np.array(fixed.shape) - 1) / 2).tolist())
    method.SetInitialTransform(found, inPlace=True)
    method.Execute(fixed_image, moving_image)
    return found


def itk_coarse(moving: Image, fixed: Image) -> sitk.Transform:
    """The same, up to a resolution of 64 voxels along the longest axis."""
    size = (fixed.shape * fixed.spacing).max() / affine.FINEST[len(fixed.shape)]
    return itk(*(affine._coarse(image, size) for image in (moving, fixed)))


def reg_aladin(moving: Image, fixed: Image) -> sitk.Transform:
    """NiftyReg's block matching, as the rows niftyreg-nmi and niftyreg-lncc begin."""
    programs = niftyreg(None)
    assert programs, "NiftyReg is not installed; run make baselines"
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_image(folder / "moving.nii", moving)
        write_image(folder / "fixed.nii", fixed)
        files = ["-ref", "fixed.nii", "-flo", "moving.nii", "-aff", "affine.txt", "-res", "affine.nii"]
        run([programs["reg_aladin"], *files, "-nac", "-omp", "1"], folder, 3600)
        return from_matrix(matrix_in_lps(np.loadtxt(folder / "affine.txt")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=int, default=13)
    ways: dict[str, Way] = {
        "affine": affine.Affine(affine.Affine.Settings(), 1, 1).optimise,
        "itk": itk,
        "itk-coarse": itk_coarse,
        "reg_aladin": reg_aladin,
    }
    parser.add_argument("--way", action="append", choices=ways)
    given = parser.parse_args()
    use_processor(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    layout = Layout(given.results)
    images = read_table(layout.images, ["image_id", "split"], "`cohortreg cohort`")
    last = images.loc[images["split"] == "train", "image_id"].tolist()[-given.images :][::-1]
    rows = []
    for moving_id, fixed_id in pairwise(last):
        moving, fixed = read(layout, moving_id), read(layout, fixed_id)
        parts = [imaged(image, fixed.affine) for image in (moving, fixed)]
        labels = [read_label(layout.label(image_id)) for image_id in (moving_id, fixed_id)]
        apart = from_matrix(moving.grid.voxel_to_lps @ fixed.grid.lps_to_voxel)  # in the scanner
        for name in given.way or ways:
            start = processor_seconds()
            found = ways[name](*parts)
            seconds = processor_seconds() - start
            placed = sitk.CompositeTransform([apart, found])  # the one added last comes first
            row = {"way": name, "moving": moving_id, "fixed": fixed_id}
            row |= {
                "dice": round(dice(labels, field_of(placed, fixed.grid)), 4),
                "processor_s": round(seconds, 3),
            }
            row |= {"hardware": hardware("cpu", 1), "torch": torch.__version__, "simpleitk": sitk.__version__}
            rows.append(row)
            print(*list(row.values())[:5], flush=True)
    table = pd.DataFrame(rows)
    with whole(given.output) as beside:
        table.to_csv(beside, index=False)
    print(table.groupby("way", sort=False)[["dice", "processor_s"]].agg(["mean", "min", "max"]))


if __name__ == "__main__":
    main()
