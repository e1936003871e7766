"""Dense fields of NiftyReg: NIfTI of five dimensions, [i, j, k, 1, 3], vectors in RAS millimetres."""

from pathlib import Path

import nibabel
import numpy as np
import torch

from cohortreg.errors import UserError
from cohortreg.maps.grids import identity_map
from cohortreg.maps.transforms import Grid, Transform, apply_affine

# What NiftyReg calls DEF_FIELD and DISP_FIELD, in the header's intent_p1.
DEFORMATION, DISPLACEMENT = 0, 1


def read_niftyreg(path: Path) -> Transform:
    """Read a deformation field (the points themselves) or a displacement field of reg_transform.

    Both lead from the reference (fixed) to the floating (moving) image. Raises UserError where the file is anything
    else, such as a grid of control points.
    """
    field = nibabel.load(path)
    kind = int(field.header["intent_p1"])
    if field.ndim != 5 or field.shape[3:] != (1, 3) or kind not in (DEFORMATION, DISPLACEMENT):
        raise UserError(f"{path}: not a dense field of NiftyReg; convert it with reg_transform -def")
    grid = Grid(field.shape[:3], np.asarray(field.affine, dtype=np.float64))
    vectors = torch.from_numpy(np.asarray(field.dataobj, dtype=np.float64)[..., 0, :]).movedim(-1, 0)
    to_lps = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    if kind == DEFORMATION:
        centres = apply_affine(grid.unit_to_lps, identity_map(grid.shape, dtype=torch.float64))[0]
        return Transform((to_lps * vectors - centres).float().numpy(), grid)
    return Transform((to_lps * vectors).float().numpy(), grid)
