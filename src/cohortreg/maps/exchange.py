"""Transforms in the files of other programs: displacement fields, ITK transforms, Learn2Reg arrays.

A displacement field that we write for raw images carries, in a header extension that other programs skip, the voxels of
the two images that it was made for.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

from cohortreg.errors import UserError
from cohortreg.files import whole
from cohortreg.images.grid import Grid, in_lps, ras_to_lps
from cohortreg.images.guarded import call
from cohortreg.images.itk import itk_geometry, quiet_itk
from cohortreg.images.nifti import to_nifti
from cohortreg.inputs import check_whole
from cohortreg.maps import niftyreg
from cohortreg.maps.algebra import composed
from cohortreg.maps.coded import SUFFIX, read_coded
from cohortreg.maps.matrices import from_matrix, matrix_of, matrix_of_field, nearest
from cohortreg.maps.raw import in_voxels
from cohortreg.maps.sealed import open_nifti, read_whole, seal
from cohortreg.maps.transforms import Transform, as_sitk, check_perpendicular, field_of, from_sitk

FIELDS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
ITK_TRANSFORMS = (".h5", ".hdf5", ".tfm", ".txt", ".mat", ".xfm")
_WRITTEN_FIELDS, _WRITTEN_TRANSFORMS = (".nii", ".nii.gz"), (".h5", ".hdf5", ".tfm", ".mat")
_AFFINE_ALONE = ".mat"
_EXTENSION = "comment"  # of NIfTI: plain text
_DISPLACEMENT_VECTOR = 1006  # NIfTI's intent, of vectors in RAS
_FSL = range(2006, 2019)  # intents of FSL's warps and their coefficients


@dataclass(frozen=True)
class Pair:
    """The grids of the two images that a transform was made for."""

    moving: Grid
    fixed: Grid

    def swapped(self) -> "Pair":
        """The same of the inverse transform."""
        return Pair(self.fixed, self.moving)


@dataclass(frozen=True)
class Read:
    """A transform that was read from a file.

    Attributes:
        transform: From points of the fixed to points of the moving image, LPS millimetres.
        grid: Of a displacement field, or of a transform of results; None of any other.
        pair: None where the file does not say what it was made for.
    """

    transform: sitk.Transform
    grid: Grid | None
    pair: Pair | None


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file name ends in one of the suffixes."""
    return path.name.lower().endswith(suffixes)


def check_name(path: Path, deforms: bool = False) -> None:
    """Raise UserError where `write` does not support the extension; of an affine transform unless it `deforms`."""
    # In small letters: ITK knows no others.
    if not path.name.endswith((*_WRITTEN_FIELDS, *_WRITTEN_TRANSFORMS)):
        raise UserError(
            f"{path}: unsupported extension; use .nii.gz (a displacement field), .h5, .hdf5 or .tfm (ITK's), or .mat "
            "(ITK's, of affine transforms)."
        )
    if deforms and path.name.endswith(_AFFINE_ALONE):
        raise UserError(
            f"{path}: .mat holds affine transforms only, and this one deforms; use .h5 or .nii.gz."
        )


def write(path: Path, transform: sitk.Transform, pair: Pair | None) -> None:
    """Write a transform between two images in the format of the extension, whole or not at all.

    Args:
        path: .nii, .nii.gz: a displacement field on the fixed image's voxels, LPS millimetres, as ITK and ANTs have it.
            .h5, .hdf5, .tfm, .mat: ITK's transform as it is, an affine one as a matrix and a translation.
        transform: From points of the fixed to points of the moving image.
        pair: The images it is between; None where that is unknown, and the path is of no displacement field.

    Raises:
        UserError: The path ends otherwise, or .mat is to hold a transform that is not affine.
    """
    check_name(path, matrix_of(transform) is None)
    if has_suffix(path, _WRITTEN_FIELDS):
        if pair is None:
            raise UserError(
                f"{path}: a displacement field is on the fixed image's voxels; give that image as reference."
            )
        write_field(path, field_of(transform, pair.fixed), pair)
        return
    transform = composed([transform])
    with whole(path) as beside:
        sitk.WriteTransform(transform, str(beside))


def write_field(path: Path, field: Transform, pair: Pair) -> None:
    """Write a displacement field as NIfTI with a note of the images it was made for, whole or not at all."""
    check_perpendicular(path, field.grid)
    vectors = np.moveaxis(field.displacement, 0, -1)
    while vectors.ndim < 5:
        vectors = vectors[..., None, :]  # space has three axes there, and time one
    nifti = to_nifti(vectors, field.grid)
    nifti.header.set_intent("vector")
    note = {name: _described(getattr(pair, name)) for name in ("moving", "fixed")}
    content = json.dumps({"cohortreg": note}).encode()
    nifti.header.extensions.append(nibabel.nifti1.Nifti1Extension(_EXTENSION, content))
    with whole(path) as beside:
        nibabel.save(nifti, beside)
        if beside.suffix == ".nii":
            seal(beside)


def write_learn2reg(path: Path, field: Transform, moving: Grid) -> None:
    """Write a displacement field in Learn2Reg's format, whole or not at all.

    In voxels, at every voxel of the fixed image, see `in_voxels`. .nii.gz: float32 [i, j, k, 3] under an affine of
    ones; .npz: float16 [3, i, j, k], the array of its first challenges at full resolution.
    """
    voxels = in_voxels(field, moving)
    with whole(path) as beside:
        if has_suffix(path, (".npz",)):
            np.savez_compressed(beside, voxels.astype(np.float16))
        else:
            nibabel.save(nibabel.Nifti1Image(np.moveaxis(voxels, 0, -1), np.eye(4)), beside)


def read(path: Path) -> Read:
    """Read a displacement field, a transform of ITK's or one of a cohort's results.

    Raises:
        UserError: The file is missing, damaged or none of these.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path.")
    if has_suffix(path, (SUFFIX,)):
        try:
            field = read_coded(path)
        except UserError as error:
            raise UserError(f"{error}; give a transform as a cohort's registration wrote it.") from error
        matrix = matrix_of_field(field)
        return Read(as_sitk(field) if matrix is None else from_matrix(matrix), field.grid, None)
    if has_suffix(path, FIELDS):
        return _read_field(path)
    _read_elsewhere(path)
    try:
        with quiet_itk():
            transform = sitk.ReadTransform(str(path))
            # Of a field that is cut short in a text file nothing is read, and ITK says so where it is used.
            transform.TransformPoint([0.0] * transform.GetDimension())
            finite = _is_finite(transform)
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter of ITK's own message
        raise UserError(
            f"{path} is not a transform that ITK can read; give a displacement field ({', '.join(FIELDS)}) or a "
            f"transform ({', '.join(ITK_TRANSFORMS)})."
        ) from error
    if not finite:
        raise UserError(f"{path} has NaN or infinite values; write the transform again, without them.")
    return Read(transform, None, None)


def _read_elsewhere(path: Path) -> None:
    """Have ITK read a file in another process first; raise BadImage where it crashes ITK or exhausts memory."""
    check_whole(path)
    call("cohortreg.images.itk:attempt", path, has_suffix(path, FIELDS), about=path)


def _is_finite(transform: sitk.Transform) -> bool:
    """Whether all parameters of a transform, or of its parts, are finite."""
    kind = transform.GetTransformEnum()
    if kind == sitk.sitkComposite:
        whole = sitk.CompositeTransform(transform)
        return all(_is_finite(whole.GetNthTransform(n)) for n in range(whole.GetNumberOfTransforms()))
    if kind == sitk.sitkDisplacementField:  # whose parameters would be millions of Python's numbers
        field = sitk.DisplacementFieldTransform(transform).GetDisplacementField()
        return bool(np.isfinite(sitk.GetArrayViewFromImage(field)).all())
    return bool(np.isfinite([*transform.GetParameters(), *transform.GetFixedParameters()]).all())


def _read_field(path: Path) -> Read:
    if has_suffix(path, _WRITTEN_FIELDS):
        field, pair = _nifti_field(path)
    else:
        _read_elsewhere(path)
        try:
            with quiet_itk():
                image = sitk.ReadImage(str(path), sitk.sitkVectorFloat32)
        except (RuntimeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is not a displacement field, or is cut short; write it again."
            ) from error
        _check_vectors(path, image.GetNumberOfComponentsPerPixel(), image.GetDimension())
        field, pair = from_sitk(image), None
    if 0 in field.grid.shape:
        raise UserError(f"{path} is an empty field; write it again.")
    _check_finite(path, field)
    return Read(as_sitk(field), field.grid, pair)


def _nifti_field(path: Path) -> tuple[Transform, Pair | None]:
    """Read a field in NIfTI without ITK, which reads zeros where a file is cut short."""
    try:
        content = read_whole(path, foreign=True)
    except UserError as error:
        raise UserError(f"{error}; write it again.") from error
    try:
        image = open_nifti(content)
        vectors = np.asanyarray(image.dataobj)
    except Exception as error:  # whatever a damaged file sets off, it cannot be used
        raise UserError(f"{path} is not a displacement field, or is cut short; write it again.") from error
    _check_not_fsl(path, image)
    dim = 2 if vectors.ndim == 5 and vectors.shape[2:4] == (1, 1) and vectors.shape[4] == 2 else 3
    _check_vectors(path, vectors.shape[4] if vectors.ndim == 5 and vectors.shape[3] == 1 else 1, dim)
    name = image.header.get_intent()[2]
    if name in (niftyreg.NIFTYREG, niftyreg.SPM):
        return niftyreg.transform_of(path, image), None
    if name.startswith("NREG"):
        raise UserError(
            f"{path} is a field of an old version of NiftyReg; convert it with reg_transform -def."
        )
    displacement = np.moveaxis(vectors.reshape(*vectors.shape[:dim], dim), -1, 0).astype(np.float32)
    if int(image.header["intent_code"]) == _DISPLACEMENT_VECTOR:
        displacement = in_lps(displacement, axis=0)  # in RAS, as the standard has it
    field, pair = Transform(np.ascontiguousarray(displacement), _grid(path, image, dim)), _pair(image)
    _check_finite(path, field)
    if pair is None:
        _check_not_positions(path, field)
    return field, pair


def _check_finite(path: Path, field: Transform) -> None:
    if not np.isfinite(field.displacement).all():
        raise UserError(f"{path} has NaN or infinite values; write the field again, without them.")


def _grid(path: Path, image: nibabel.Nifti1Image, dim: int) -> Grid:
    """The first axes of a NIfTI file's grid as ITK has them: by its choice of sform or qform, in its millimetres."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_itk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise UserError(
            f"{path} has a geometry that ITK does not read, such as a shear, so that no program that applies its "
            "fields does; write it on another grid."
        ) from error
    theirs = Grid.from_itk(**itk_geometry(reader))
    theirs = Grid.from_nifti(theirs.shape[:dim], theirs.affine)
    # Mostly what the header says, to rounding errors, which would put points at an image's very edge outside of it.
    ours = Grid.from_nifti(theirs.shape, image.affine)
    return ours if ours.matches(theirs, tolerance=1e-3) else theirs


def _check_not_fsl(path: Path, image: nibabel.Nifti1Image) -> None:
    """Raise UserError for warps known to be in coordinates other than millimetres of physical space."""
    if int(image.header["intent_code"]) in _FSL:
        raise UserError(
            f"{path} is an FSL warp, in coordinates of its own; convert it to ITK's, for instance with "
            "wb_command -convert-warpfield -from-fnirt."
        )
    if image.ndim == 4 and image.shape[3] == 3:
        raise UserError(
            f"{path} has four axes, like warps of FSL, MRtrix and Learn2Reg, and does not state its coordinates; "
            "convert it to an ITK displacement field."
        )


def _check_not_positions(path: Path, field: Transform) -> None:
    """Raise UserError where the vectors look like positions, which several programs write, not displacements.

    Those of points grow as the coordinates do, in RAS or LPS. A displacement that does would have no inverse, or make
    the image twice as large.
    """
    dim = len(field.grid.shape)
    growth, in_ras = nearest(field)[:dim, :dim] - np.eye(dim), ras_to_lps(dim)[:dim, :dim]
    if np.linalg.norm(growth - in_ras, 2) < 0.7 or np.linalg.norm(growth - np.eye(dim), 2) < 0.5:
        raise UserError(
            f"{path} has vectors that look like points rather than displacements; write it as a displacement field, "
            "or, if it is one, in another format, such as .mha."
        )


def _check_vectors(path: Path, values: int, dim: int) -> None:
    if values != dim:
        raise UserError(
            f"{path} has {values} values per voxel in {dim} dimensions, so it is not a displacement field; "
            "give one vector per voxel."
        )


def _pair(image: nibabel.Nifti1Image) -> Pair | None:
    """The grids of the images that a field was made for, from its header; None where it has none."""
    for extension in image.header.extensions:
        try:
            note = json.loads(extension.get_content())["cohortreg"]
            grids = [_grid_of(note[name]) for name in ("moving", "fixed")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            continue  # another program's
        return Pair(*grids)
    return None


def _grid_of(described: dict[str, Any]) -> Grid:
    """Parse a grid that `_described` wrote, or raise ValueError."""
    shape = tuple(int(n) for n in described["shape"])
    affine = np.array(described["affine"], dtype=np.float64)
    if affine.shape != (len(shape) + 1,) * 2 or min(shape) < 1 or not abs(np.linalg.det(affine)) > 0:
        raise ValueError("no grid")
    return Grid(shape, affine)


def _described(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}
