"""Dense fields of NiftyReg and of SPM: NIfTI of five dimensions, [i, j, k, 1, 3], vectors in RAS millimetres."""

from pathlib import Path

import nibabel
import numpy as np
import torch

from cohortreg.errors import UserError
from cohortreg.images.grid import Grid, in_lps
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import Transform, apply_affine

# What NiftyReg calls DEF_FIELD and DISP_FIELD, in the header's intent_p1; its intent_name.
DEFORMATION, DISPLACEMENT = 0, 1
NIFTYREG, SPM = "NREG_TRANS", "Mapping"


def read_niftyreg(path: Path) -> Transform:
    """Read a deformation field (the points themselves) or a displacement field of reg_transform.

    Both lead from the reference (fixed) to the floating (moving) image.

    Raises:
        UserError: The file is anything else, such as a grid of control points.
    """
    return transform_of(path, nibabel.Nifti1Image.from_filename(path))


def transform_of(path: Path, field: nibabel.Nifti1Image) -> Transform:
    """Convert an image read from a path to a transform, see `read_niftyreg`; also SPM's y_*.nii."""
    kind, dim = int(field.header["intent_p1"]), field.shape[-1]
    dense = field.ndim == 5 and field.shape[3:] in ((1, 3), (1, 2)) and (dim == 3 or field.shape[2] == 1)
    if not dense or kind not in (DEFORMATION, DISPLACEMENT):
        raise UserError(f"{path}: not a dense NiftyReg field; convert it with reg_transform -def")
    grid = Grid.from_nifti(field.shape[:dim], field.affine)
    values = in_lps(np.asarray(field.dataobj, dtype=np.float64).reshape(*grid.shape, dim))
    vectors = torch.from_numpy(values).movedim(-1, 0)
    if kind == DEFORMATION:
        centres = apply_affine(grid.unit_to_lps, identity_map(grid.shape, dtype=torch.float64))[0]
        return Transform((vectors - centres).float().numpy(), grid)
    return Transform(vectors.float().numpy(), grid)
