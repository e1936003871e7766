"""Transforms of results as earlier versions wrote them: displacement fields in NIfTI, and behind the voxels a seal."""

import base64
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from cohortreg.images.grid import Grid
from cohortreg.images.itk import to_sitk
from cohortreg.maps.sealed import seal
from cohortreg.maps.transforms import Transform

#: What commit ef56f7a wrote of `FIELD`.
FILE = zlib.decompress(
    base64.b85decode(
        "c-o6$WFP_*F|aZ)F)#x$BamcdK-Kh~S%5(S%xbU)5)KRu2kd9foN13~&IV_w8W7-O7+`?xkIyWoKzBU=y4~Rb1H%GGi0"
        "Fa+5E>*7@)rz%)Ib2lpD^_Zkf&`3Wi<fRDgbc;NY4R?UXZy3Kw1EZ1AzDekZ%C87f3gN>;#3;eneOu0MZUXz5|eM*auV"
        "xqV0hCpy8bW#0o&%0CGPNPXJ;8AT9u610e1I;s79?;gFo4kzZ6&l>Pzg^$Si#zW{|KID-"
    )
)
FIELD = Transform(
    np.arange(36, dtype=np.float32).reshape(3, 2, 3, 2) / 4 - 4,
    Grid((2, 3, 2), np.array([[0, -1.5, 0, 7], [2.0, 0, 0, -3], [0, 0, 1.2, 20], [0, 0, 0, 1]])),
)


def write_before(path: Path, transform: Transform) -> None:
    """Write a transform as that version did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(to_sitk(transform.displacement, transform.grid), str(path))
    seal(path)
