"""One DICOM series as one image: a folder of slices, or an archive of such a folder."""

import errno
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
import SimpleITK

from cohortreg.errors import UserError
from cohortreg.files import files_of
from cohortreg.images.itk import quiet_itk, ras_affine

ARCHIVES = (".tar", ".tar.gz", ".tgz")
GZIP, BLOCK = b"\x1f\x8b", 512
#: Behind a preamble a DICOM file says that it is one.
PREAMBLE, MAGIC = 128, b"DICM"
#: All of a header that is ever looked at, beside the geometry; nothing that names a person.
TAGS = {
    "subject": "0010|0020",
    "date": "0008|0020",
    "time": "0008|0031",
    "accession": "0008|0050",
    "study_description": "0008|1030",
    "description": "0008|103e",
    "series": "0020|000e",
    "laterality": "0020|0060",
    "image_laterality": "0020|0062",
}
#: What distances between slices, in parts of their spacing, and directions may differ by.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Slice:
    """What the header of one file says.

    file: its name. size: columns, rows, frames. spacing: [3] millimetres along columns, rows and the normal. origin:
    [3] millimetres in LPS. direction: [3, 3], its columns are unit vectors in LPS, the last one the normal. tags:
    the text of each of `TAGS`, "" where the file has none.
    """

    file: str
    size: tuple[int, ...]
    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray
    tags: dict[str, str]

    @property
    def position(self) -> float:
        """Millimetres along the normal."""
        return float(self.origin @ self.direction[:, 2])


def is_series(path: Path) -> bool:
    """Whether a path is read as a DICOM series: a folder, or an archive by its name."""
    return path.is_dir() or path.name.lower().endswith(ARCHIVES)


def is_named_as_slice(name: str) -> bool:
    """Whether a file may be a slice by its name: 001, IM-0001.dcm, 1.2.840.113 and the like."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in ("", ".dcm", ".ima") or suffix[1:].isdigit()


def read_series(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the one series in an archive or a folder (not in folders below it).

    Returns the array [i, j, k] (columns, rows, slices along their normal), float32, with rescale slope and intercept
    applied, and the affine to RAS millimetres. Raises UserError naming the folder or archive where it holds no
    DICOM file, several series, a file cut short, or slices that make no regular grid.
    """
    slices, pixels = [], []
    for header, reader in _opened(path):
        slices.append(header)
        pixels.append(_pixels(path, header.file, reader))
    order, affine = stacked(path, slices)
    return np.stack([pixels[n] for n in order]).T, affine


def headers(path: Path) -> Iterator[Slice]:
    """The headers of the DICOM files in an archive or a folder, each read when it is asked for, without pixels.

    Raises UserError where a file is cut short.
    """
    for header, _ in _opened(path):
        yield header


def stacked(path: Path, slices: Sequence[Slice]) -> tuple[list[int], np.ndarray]:
    """The order of the slices of one series along their normal, and its affine to RAS millimetres.

    path: where they are from, for messages. Raises UserError as `read_series` does.
    """
    if not slices:
        raise UserError(f"{path} holds no DICOM file; name an image file, or a folder of one DICOM series.")
    _check_series(path, slices)
    _check_geometry(path, slices)
    order = sorted(range(len(slices)), key=lambda n: slices[n].position)
    first = slices[order[0]]
    spacing = _spacing(path, [slices[n] for n in order]) if len(slices) > 1 else first.spacing[2]
    return order, ras_affine(first.direction, [*first.spacing[:2], spacing], first.origin)


def _check_series(path: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices of several series, and files of several slices."""
    counts = Counter((header.tags["series"], header.tags["description"]) for header in slices)
    if len({series for series, _ in counts}) > 1:
        named = ", ".join(
            f"{description or 'no description'}: {n} files" for (_, description), n in counts.items()
        )
        raise UserError(f"{path} holds slices of several series ({named}); give each a folder of its own.")
    several = next((header for header in slices if header.size[2] > 1), None)
    if several is not None:
        raise UserError(
            f"{path}: {several.file} holds {several.size[2]} frames; export the series as one file a slice."
        )


def _check_geometry(path: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices that differ in size or orientation, or that are shifted against each other within their plane."""
    first = slices[0]
    for header in slices[1:]:
        if header.size != first.size:
            what = "sizes ({} x {} and {} x {} pixels)".format(*first.size[:2], *header.size[:2])
        elif not np.allclose(header.spacing[:2], first.spacing[:2], rtol=TOLERANCE):
            what = "pixel sizes"
        elif not np.allclose(header.direction, first.direction, atol=TOLERANCE):
            what = "orientations"
        elif np.abs((header.origin - first.origin) @ first.direction[:, :2] / first.spacing[:2]).max() > 0.5:
            what = "places within their plane, as with a tilted gantry"
        else:
            continue
        raise UserError(
            f"{path} holds slices of different {what}, such as {first.file} and {header.file}; "
            "give one series of parallel slices."
        )


def _spacing(path: Path, slices: Sequence[Slice]) -> float:
    """Millimetres between neighbours of sorted slices, which must be equal."""
    gaps = np.diff([header.position for header in slices])
    if gaps.min() < 1e-3:
        after = int(gaps.argmin())
        raise UserError(
            f"{path} has two slices at one position, {slices[after].file} and {slices[after + 1].file}; "
            "give a series of one image."
        )
    steps = gaps / gaps.min()
    if steps.max() < 1 + TOLERANCE:
        return float(gaps.mean())
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > TOLERANCE * whole.max():
        raise UserError(
            f"{path} has slices at unequal distances, from {gaps.min():.3g} to {gaps.max():.3g} mm; "
            "give a series of equal spacing."
        )
    missing, after = int((whole - 1).sum()), int((whole > 1).argmax())
    lack = "1 slice is" if missing == 1 else f"{missing} slices are"
    raise UserError(
        f"{path}: {lack} missing after slice {after + 1} of {len(slices)} ({slices[after].file}, at "
        f"{slices[after].position:.2f} mm along the normal); copy or export the series again."
    )


def _opened(path: Path) -> Iterator[tuple[Slice, SimpleITK.ImageFileReader]]:
    """Each slice's header, with a reader that stands at its file until the next is asked for."""
    in_folder = ((file.name, file) for file in files_of(path))
    with closing(in_folder if path.is_dir() else _members(path)) as files:
        for name, file in files:
            if _is_dicom(path, name, file):
                reader = SimpleITK.ImageFileReader()
                reader.SetImageIO("GDCMImageIO")
                reader.SetFileName(str(file))
                with quiet_itk():
                    try:
                        reader.ReadImageInformation()
                    except RuntimeError as error:
                        raise _cut_short(path, name) from error
                yield _header(name, reader), reader


def _header(name: str, reader: SimpleITK.ImageFileReader) -> Slice:
    there = {name: key for name, key in TAGS.items() if reader.HasMetaDataKey(key)}
    tags = dict.fromkeys(TAGS, "") | {
        name: reader.GetMetaData(key).strip("\0 ") for name, key in there.items()
    }
    return Slice(
        name,
        reader.GetSize(),
        np.array(reader.GetSpacing()),
        np.array(reader.GetOrigin()),
        np.reshape(reader.GetDirection(), (3, 3)),
        tags,
    )


def _pixels(path: Path, name: str, reader: SimpleITK.ImageFileReader) -> np.ndarray:
    """[j, i] of one slice, float32."""
    with quiet_itk():
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise _cut_short(path, name) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise UserError(f"{path} has several values a voxel; give an image of one real number a voxel.")
    return SimpleITK.GetArrayFromImage(image)[0].astype(np.float32)


def _is_dicom(path: Path, name: str, file: Path) -> bool:
    """Whether a file is DICOM; other files may lie beside the slices, but none that a slice was cut down to."""
    with file.open("rb") as stream:
        start = stream.read(PREAMBLE + len(MAGIC))
    if len(start) < PREAMBLE + len(MAGIC) and is_named_as_slice(name):
        raise _cut_short(path, name)
    return start[PREAMBLE:] == MAGIC and PurePosixPath(name).name != "DICOMDIR"


def _cut_short(path: Path, name: str) -> UserError:
    return UserError(f"{path}: {name} is cut short or no DICOM image; copy or export the series again.")


def _members(path: Path) -> Iterator[tuple[str, Path]]:
    """The name of each file in an archive, and where it lies until the next is asked for.

    They are unpacked one at a time, under a name of our own: nothing in an archive decides where it is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slice"
        try:
            with _decompressed(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    name = PurePosixPath(member.name).name
                    if member.isreg() and not name.startswith("."):
                        with file.open("wb") as unpacked:
                            shutil.copyfileobj(archive.extractfile(member), unpacked)
                        yield name, file
                stream.read()  # a compressed archive's checksum is at its very end
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"{folder} has no space left to unpack {path}; set $TMPDIR.") from error
            raise UserError(f"{path} is no archive, or is cut short or damaged; copy it again.") from error


def _decompressed(path: Path) -> IO[bytes]:
    """A stream of the archive's content, whatever its name says about compression."""
    with path.open("rb") as stream:
        compressed = stream.read(len(GZIP)) == GZIP
        if not compressed:
            # Without a checksum, the zeros that end an archive are all that a shorter one would lack.
            stream.seek(-min(BLOCK, path.stat().st_size), os.SEEK_END)
            if stream.read() != bytes(BLOCK):
                raise tarfile.ReadError("no end")
    return gzip.open(path) if compressed else path.open("rb")
