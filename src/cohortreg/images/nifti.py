"""NIfTI-1, NIfTI-2 and Analyze 7.5: what the header claims, compared with the file, and where ITK has the voxels.

A header holds up to two geometries, a unit, and the voxel size once more, and programs choose differently among them. A
transform is of use in ITK, ANTs and 3D Slicer only where they have the image's voxels where we have them, so that it is
ITK's choice that counts here (`itk::NiftiImageIO` of ITK 5.4).
"""

import math
from contextlib import suppress
from pathlib import Path

import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header, Nifti1Image, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spatialimages import HeaderDataError
from nibabel.spm2analyze import Spm2AnalyzeHeader
from nibabel.spm99analyze import Spm99AnalyzeHeader
from nibabel.volumeutils import apply_read_scaling

from cohortreg.errors import BadImage
from cohortreg.images.grid import Grid
from cohortreg.images.guarded import call
from cohortreg.images.stored import beginning, check_size, content, cut_short, is_gzipped, no_image
from cohortreg.inputs import check_file

SINGLE, PAIR = (".nii", ".nii.gz"), (".hdr", ".img", ".hdr.gz", ".img.gz")
MAGIC: dict[bytes, type[AnalyzeHeader]] = {
    b"n+1\0": Nifti1Header,
    b"ni1\0": Nifti1PairHeader,
    b"n+2\0": Nifti2Header,
    b"ni2\0": Nifti2PairHeader,
}
ANALYZE = (Spm2AnalyzeHeader, Spm99AnalyzeHeader, AnalyzeHeader)
LONGEST = Nifti2Header.sizeof_hdr
MILLIMETRES = {1: 1e3, 3: 1e-3}  # of metres and micrometres; ITK takes every other unit for millimetres
#: What ITK lets two unit vectors' product be off, and how close it wants two geometries, in mm, to take the first.
RIGHT_ANGLES, SIMILAR = 1e-4, 1e-4
#: How far the sform's voxel size may be from the header's own, in parts: by rounding, and before they contradict.
ROUNDED, CONTRADICTORY = 1e-5, 1e-2


def read(path: Path, voxels: bool) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Shape, affine (4, 4) to RAS millimetres, and the array, scaled as the header says; of a pair name either file.

    Without `voxels`, the array is empty, and its file unread.

    Raises:
        BadImage: The file is not what its header claims, or has no geometry, or none that ITK has.
    """
    header_file, data_file = _files(path)
    block = beginning(header_file, LONGEST)
    try:
        header = _header(path, block)
        dims = [int(size) for size in header["dim"]]
        shape = tuple(dims[1 : dims[0] + 1])
        if not 1 <= dims[0] <= 7 or min(shape) < 1:
            raise no_image(path)
        affine = _affine(path, header)
        if not voxels:
            return shape, affine, np.empty(0)
        dtype, (slope, inter) = header.get_data_dtype(), header.get_slope_inter()
        begin, behind = header.get_data_offset(), header.sizeof_hdr + 4
        if begin < (behind if getattr(header, "is_single", False) else 0):
            raise ValueError("the voxels begin within the header")  # which programs would read as voxels
    except (HeaderDataError, KeyError, ValueError, OverflowError) as error:
        raise no_image(path) from error
    if dtype.kind not in "uif":
        raise BadImage(f"{path} has voxels of type {dtype}; give an image with one real number per voxel.")
    needed = math.prod(shape) * dtype.itemsize
    check_size(data_file, data_file.stat().st_size, begin + needed, math.prod(shape), is_gzipped(data_file))
    raw = np.ndarray(shape, dtype, content(data_file, begin + needed), begin, order="F")
    scale = (np.asanyarray(1.0 if slope is None else slope), np.asanyarray(0.0 if inter is None else inter))
    with np.errstate(all="ignore"):  # what becomes infinite is refused by those who ask
        # It takes arrays without axes, too, which its annotation does not say.
        return shape, affine, apply_read_scaling(raw, *scale)  # type: ignore[arg-type]


def _files(path: Path) -> tuple[Path, Path]:
    """The files of header and voxels, one or two, both of which are there."""
    name = path.name.lower()
    if name.endswith(SINGLE):
        check_compression(path)
        return path, path
    suffix = next(suffix for suffix in PAIR if name.endswith(suffix))
    stem, given = path.name[: -len(suffix)], path.name[-len(suffix) :]
    found = []
    for kind in ("hdr", "img"):
        ending = f".{kind}" if given[1:4].islower() else f".{kind.upper()}"
        file = path.with_name(stem + ending + given[4:])
        other = path.with_name(stem + ending + ("" if given[4:] else ".gz"))
        found.append(other if other.exists() and not file.exists() else file)
        check_file(found[-1], header=path)
        check_compression(found[-1])
    return found[0], found[1]


def check_compression(path: Path) -> None:
    """Raise BadImage where a file's name and its content disagree on whether it is compressed.

    Some programs go by the one and some by the other.
    """
    if is_gzipped(path) != path.name.lower().endswith(("gz", "mgz")):
        if not path.stat().st_size:
            raise cut_short(path)
        if is_gzipped(path):
            raise BadImage(f"{path} is compressed but its name does not say so; add .gz to it.")
        raise no_image(path)


def _header(path: Path, block: bytes) -> AnalyzeHeader:
    """The header as nibabel has it, with the voxel size mended as NIfTI's own library does."""
    single = path.name.lower().endswith(SINGLE)
    kind = MAGIC.get(block[344:348]) or MAGIC.get(block[4:8])
    if kind is None and not single:
        kind = next((kind for kind in ANALYZE if kind.may_contain_header(block)), None)
    if kind is None or len(block) < kind.sizeof_hdr:
        raise no_image(path)
    if getattr(kind, "is_single", False) != single:
        raise BadImage(
            f"{path} is by its name {'header and voxels' if single else 'a header or voxels'} and by its content not; "
            "export it again as .nii.gz."
        )
    if kind in ANALYZE and any(_nearly(block[344:348], mark) for mark in MAGIC):
        raise no_image(path)  # NIfTI with a damaged mark: as Analyze it would lie elsewhere
    header = kind(block[: kind.sizeof_hdr], check=False)
    sizes = header["pixdim"]
    sizes[1:] = np.where(np.isfinite(sizes[1:]) & (sizes[1:] != 0), sizes[1:], 1)
    sizes[0] = -1 if sizes[0] < 0 else 1
    return header


def _nearly(actual: bytes, mark: bytes) -> bool:
    """Whether all bytes but one match a mark."""
    return sum(one == other for one, other in zip(actual, mark, strict=False)) == len(mark) - 1


def _affine(path: Path, header: AnalyzeHeader) -> np.ndarray:
    """The affine (4, 4) from voxel indices to RAS millimetres, as ITK computes it."""
    axes = min(int(header["dim"][0]), 3)
    sizes = header["pixdim"][1:4].astype(np.float64)
    if (sizes[:axes] < 0).any():
        raise BadImage(f"{path} has a negative voxel size in its header; correct the header.")
    if not isinstance(header, Nifti1Header):
        return np.diag([-sizes[0], -sizes[1], sizes[2], 1.0])  # Analyze knows no directions; these are ITK's
    if not (header["qform_code"] or header["sform_code"]):
        raise BadImage(
            f"{path} has neither a qform nor an sform: left and right are undefined, and programs place it "
            "differently; set one of them in its header."
        )
    if not all(0 <= header[code] <= 5 for code in ("qform_code", "sform_code")):
        raise BadImage(f"{path} has a qform or sform code that NIfTI does not define; correct the header.")
    affine = _chosen(path, header)
    scale = MILLIMETRES.get(int(header["xyzt_units"]) & 7, 1.0)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    off = np.abs(lengths - sizes)[:axes] / sizes[:axes]
    if not (off < CONTRADICTORY).all():
        raise BadImage(
            f"{path} has a voxel size of {_mm(sizes[:axes])} in its pixdim and of {_mm(lengths[:axes])} in its "
            "sform, so that programs read it differently; correct the header."
        )
    if off.max() > ROUNDED:  # ITK takes the directions of the sform only
        affine[:3, :axes] *= sizes[:axes] / lengths[:axes]
    return np.diag([scale, scale, scale, 1.0]) @ affine if scale != 1 else affine


def _chosen(path: Path, header: Nifti1Header) -> np.ndarray:
    """The one of sform and qform that ITK uses."""
    has_qform, code, sform = bool(header["qform_code"]), int(header["sform_code"]), header.get_sform()
    if not (code and has_right_angles(sform)):
        if not has_qform:
            raise sheared(path)
        return _qform(header)
    if code == 1 or not has_qform:
        return sform
    qform = _qform(header)
    spacings = [np.sort(np.linalg.norm(each[:3, :3], axis=0)) for each in (sform, qform)]
    if np.abs(spacings[0] - spacings[1]).max() > SIMILAR or np.abs(sform - qform)[:3, 3].max() > SIMILAR:
        return qform
    far = np.abs(sform - qform)[:3, :3] @ header["dim"][1:4]
    if far.max() < 1e-3 * spacings[1][0]:
        return sform
    # Between the two, ITK decides by singular vectors, of which cubic voxels leave the choice to its algorithm: ask it.
    direction, _ = call("cohortreg.images.itk:direction", path, about=path)
    theirs, axes = np.array(direction), len(direction)

    def off(turned: np.ndarray) -> float:
        return np.abs(turned[:axes, :axes] / np.linalg.norm(turned[:axes, :axes], axis=0) - theirs).max()

    return sform if off(sform) <= off(qform) else qform


def _qform(header: Nifti1Header) -> np.ndarray:
    """The matrix of the quaternion as NIfTI's own library has it.

    The header leaves its first number out, 0 where an axis is turned by 180 degrees: rounding decides there, and
    nibabel rounds otherwise, by up to a thousandth of the image's size. Where it does not matter, nibabel's.
    """
    b, c, d = (float(header[f"quatern_{letter}"]) for letter in "bcd")
    length = b * b + c * c + d * d
    a = np.sqrt(max(1 - length, 0))
    if 1 - length < 1e-7:
        a, (b, c, d) = 0.0, np.array([b, c, d]) / np.sqrt(length)
    turned = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = turned * header["pixdim"][1:4] * [1, 1, header["pixdim"][0]]
    affine[:3, 3] = [header[f"qoffset_{letter}"] for letter in "xyz"]
    with suppress(ValueError, HeaderDataError):  # a quaternion that is not of length 1
        other = header.get_qform()
        if np.abs(other - affine).max() < 1e-6 * np.abs(affine[:3, :3]).max():
            return other
    return affine


def to_nifti(array: np.ndarray, grid: Grid) -> Nifti1Image:
    """Make a nibabel image of an array on a grid, with the array's type and one geometry for every program."""
    image = Nifti1Image(array, grid.nifti_affine, dtype=array.dtype)
    image.set_sform(grid.nifti_affine, code=1)
    image.set_qform(grid.nifti_affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def has_right_angles(affine: np.ndarray) -> bool:
    """Whether an affine's axes are as perpendicular as ITK wants those of a NIfTI file."""
    lengths = np.linalg.norm(affine[:-1, :-1], axis=0)
    if not np.isfinite(affine).all() or not lengths.all():
        return False
    turned = affine[:-1, :-1] / lengths
    return bool(np.abs(turned @ turned.T - np.eye(len(lengths))).max() <= RIGHT_ANGLES)


def sheared(name: Path | str) -> BadImage:
    """The error for an image whose axes are not perpendicular, or are zero."""
    return BadImage(
        f"{name} has axes that are not perpendicular (a shear, or no usable geometry), which displacement fields in "
        "NIfTI cannot have and ITK does not read; resample it onto perpendicular axes, or correct the header."
    )


def _mm(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
