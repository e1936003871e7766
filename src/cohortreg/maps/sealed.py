"""NIfTI files with a seal that reveals truncation or a flipped bit.

A `.nii` file of ours ends in a seal: how long it is and a checksum of all before. It stands behind the voxels, where
NIfTI has nothing and no program looks; a program that writes the file anew leaves it out, so that a seal is never out
of date. A `.nii.gz` file has the same from gzip.
"""

import errno
import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cohortreg.errors import UserError

if TYPE_CHECKING:
    import nibabel

_MAGIC = b"cohortrg"
_SEAL = struct.Struct("<8sQI")  # the magic, bytes before it, their CRC-32
_NIFTI_2 = (struct.pack("<i", 540), struct.pack(">i", 540))  # how its files begin


def seal(path: Path) -> None:
    """Append the seal to a whole .nii file.

    Raises:
        OSError: The file is not as long as its header says: what wrote it ran out of something.
    """
    content = path.read_bytes()
    if len(content) != _end_of_voxels(content):
        raise OSError(errno.EIO, "not all of it was written", str(path))
    with path.open("ab") as stream:
        stream.write(_seal_of(content))


def seal_at(path: Path) -> str:
    """The seal that a .nii file ends in, as text; "" where it has none, or is not as long as that says.

    Of a .gz file, gzip's. It takes no time, since the rest is not read: not what says whether a file is whole, but
    which one it is.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - _SEAL.size, 0))
        last = stream.read()
    if path.name.endswith(".gz"):
        return f"{size}:{last[-8:].hex()}"  # CRC-32 and number of all bytes before compression
    if len(last) < _SEAL.size:
        return ""
    magic, length, checksum = _SEAL.unpack(last)
    return f"{length}:{checksum:08x}" if magic == _MAGIC and length == size - _SEAL.size else ""


def read_whole(path: Path, foreign: bool = False) -> bytes:
    """Read the content of a .nii file, or of a .nii.gz file unpacked.

    Args:
        foreign: Whether another program may have written it, and something of its own behind the voxels.

    Raises:
        UserError: It is no NIfTI file, is cut short, or is not what was sealed.
    """
    content = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path} is cut short or damaged, or was never compressed: {error}") from error
    try:
        end = _end_of_voxels(content)
    except Exception as error:  # whatever a damaged header sets off, the file cannot be used
        raise UserError(f"{path} is not a displacement field, or is damaged") from error
    if len(content) < end:
        raise UserError(f"{path} is cut short: it has {len(content)} of {end} bytes")
    trailer = content[end:]
    # A seal stands at the end of the file also where a damaged header says that the voxels end elsewhere.
    sealed = trailer.startswith(_MAGIC) or content[-_SEAL.size :].startswith(_MAGIC)
    sealed = sealed or len(trailer) == _SEAL.size or not foreign
    if trailer and sealed and trailer != _seal_of(memoryview(content)[:end]):
        raise UserError(f"{path} is damaged: its checksum does not match its content")
    return content


def open_nifti(content: bytes) -> "nibabel.Nifti1Image":
    """Open a NIfTI file's content as an image, or raise whatever nibabel does for a damaged one."""
    import nibabel

    kind = nibabel.Nifti2Image if content[:4] in _NIFTI_2 else nibabel.Nifti1Image
    return kind.from_bytes(content)


def is_finite(content: bytes) -> bool:
    """Whether all values of a NIfTI file's content, as they are stored, are numbers."""
    header = _header(content)
    stored = {"dtype": header.get_data_dtype(), "offset": int(header["vox_offset"])}
    return bool(np.isfinite(np.frombuffer(content, **stored, count=math.prod(header.get_data_shape()))).all())


def _seal_of(content: bytes | memoryview) -> bytes:
    return _SEAL.pack(_MAGIC, len(content), zlib.crc32(content))


def _end_of_voxels(content: bytes) -> int:
    """Bytes of a NIfTI file up to its last voxel, from its header."""
    header = _header(content)
    voxels = math.prod(int(n) for n in header.get_data_shape())
    return int(header["vox_offset"]) + voxels * header.get_data_dtype().itemsize


def _header(content: bytes) -> "nibabel.Nifti1Header":
    import nibabel

    if content[:4] in _NIFTI_2:
        return nibabel.Nifti2Header(content[:540])
    return nibabel.Nifti1Header(content[:348])
