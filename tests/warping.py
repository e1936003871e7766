"""A moving image warped by the programs that read our transforms, each from files, as its users do.

moving, fixed: NIfTI files. transform: a displacement field in NIfTI or, but for NiftyReg, ITK's composite. Each returns
the warped array [i, j, k].
"""

from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

from cohortreg.methods.programs import niftyreg, run


def by_simpleitk(moving: Path, fixed: Path, transform: Path) -> np.ndarray:
    images = [sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, fixed)]
    if transform.name.endswith(".nii.gz"):
        field = sitk.ReadImage(str(transform), sitk.sitkVectorFloat64)
        return _array(sitk.Resample(*images, sitk.DisplacementFieldTransform(field), sitk.sitkLinear))
    return _array(sitk.Resample(*images, sitk.ReadTransform(str(transform)), sitk.sitkLinear))


def by_ants(moving: Path, fixed: Path, transform: Path) -> np.ndarray:
    import ants

    images = [ants.image_read(str(path)) for path in (moving, fixed)]
    return ants.apply_transforms(images[1], images[0], [str(transform)]).numpy()


def by_niftyreg(moving: Path, fixed: Path, transform: Path) -> np.ndarray:
    """NiftyReg takes places in RAS where ITK takes displacements in LPS."""
    folder, field, grid = transform.parent, nibabel.load(transform), nibabel.load(fixed)
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    places = nibabel.affines.apply_affine(grid.affine, index) + field.get_fdata()[:, :, :, 0] * [-1, -1, 1]
    theirs = nibabel.Nifti1Image(places[:, :, :, None].astype(np.float32), grid.affine)
    theirs.header.set_intent("vector", name="NREG_TRANS")
    nibabel.save(theirs, folder / "places.nii.gz")
    pair = ["-ref", fixed, "-flo", moving, "-trans", "places.nii.gz", "-res", "warped.nii.gz"]
    run([niftyreg(None)["reg_resample"], *pair, "-inter", "1"], folder, 60)
    return nibabel.load(folder / "warped.nii.gz").get_fdata()


def _array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).T
