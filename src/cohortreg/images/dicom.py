"""One DICOM series as one image: a folder of slices, an archive of such a folder, or one file of slices or frames."""

import errno
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np

from cohortreg.errors import BadImage
from cohortreg.images import elements
from cohortreg.images.elements import CutShortError, Elements, looks_like_dicom, read_elements
from cohortreg.images.grid import Grid
from cohortreg.images.guarded import call
from cohortreg.images.itk import itk_geometry, not_read, quiet_itk
from cohortreg.images.stored import check_size, is_gzipped
from cohortreg.inputs import files_of

ARCHIVES = (".tar", ".tar.gz", ".tgz")
BLOCK = 512  # bytes, of an archive
#: All of a header that is ever looked at, beside the geometry; nothing that names a person.
TAGS = {
    "subject": "0010|0020", "date": "0008|0020", "time": "0008|0031", "accession": "0008|0050",
    "study_description": "0008|1030", "description": "0008|103e", "series": "0020|000e",
    "laterality": "0020|0060", "image_laterality": "0020|0062",
}  # fmt: skip
#: SOP classes whose frames GDCM rescales: enhanced CT, MR, PET and X-ray, converted ones, segmentations.
RESCALED = {"2.1", "2.2", "4.1", "4.4", "128.1", "130", "13.1.1", "66.4"}
#: What a damaged archive sets off.
DAMAGED = (
    tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, RecursionError,
)  # fmt: skip
#: What distances between slices, in parts of their spacing, and directions may differ by.
TOLERANCE = 0.02


@dataclass(frozen=True)
class Header:
    """The header of one slice: a file, or one frame of a multi-frame file.

    Attributes:
        file: Its name, and which frame.
        size: Columns, rows.
        spacing: [3] millimetres along columns, rows and the normal.
        origin: [3] millimetres in LPS.
        direction: [3, 3], its columns are unit vectors in LPS, the last one the normal.
        tags: The text of each of `TAGS`, "" where the file has none.
    """

    file: str
    size: tuple[int, int]
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


def is_dicom_file(path: Path) -> bool:
    """Whether a file is DICOM by its content, whatever its name."""
    return looks_like_dicom(_start(path))


def is_named_as_slice(name: str) -> bool:
    """Whether a file may be a slice by its name: 001, IM-0001.dcm, 1.2.840.113 and the like."""
    suffix = PurePosixPath(name).suffix.lower()
    return suffix in ("", ".dcm", ".ima") or suffix[1:].isdigit()


def read_series(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the one series in an archive, a folder (not in folders below it) or a file.

    Of files of several frames each frame is a slice, at the place that the file gives it. Files that hold no image,
    DICOM or not, are left out.

    Returns:
        The array [i, j, k] (columns, rows, slices along their normal) with rescale slope and intercept applied, and the
        affine to RAS millimetres.

    Raises:
        BadImage: The path holds no image, several series, a file cut short, frames without a place, or slices that make
            no regular grid.
    """
    slices: list[Header] = []
    pixels: list[np.ndarray] = []
    for frames, values in _opened(path, voxels=True):
        slices += frames
        pixels += values
    order, grid = stacked(path, slices)
    return np.stack([pixels[n] for n in order]).T, grid.affine


def headers(path: Path) -> Generator[Header]:
    """Yield the headers of the slices in an archive or a folder, read lazily and without pixels.

    Raises:
        BadImage: A file is cut short.
    """
    for frames, _ in _opened(path, voxels=False):
        yield from frames


def stacked(path: Path, slices: Sequence[Header]) -> tuple[list[int], Grid]:
    """The order of the slices of one series along their normal, and the series' grid, or what `read_series` raises."""
    if not slices:
        raise BadImage(
            f"{path} contains no DICOM image; name an image file, or a folder with one DICOM series."
        )
    counts = Counter((header.tags["series"], header.tags["description"]) for header in slices)
    if len({series for series, _ in counts}) > 1:
        said = (f"{description or 'no description'}: {n} slices" for (_, description), n in counts.items())
        raise BadImage(
            f"{path} contains slices of several series ({', '.join(said)}); put each in its own folder."
        )
    _check_geometry(path, slices)
    order = sorted(range(len(slices)), key=lambda n: slices[n].position)
    first = slices[order[0]]
    spacing = _spacing(path, [slices[n] for n in order]) if len(slices) > 1 else first.spacing[2]
    size = (*first.size, len(slices))
    return order, Grid.from_itk(size, [*first.spacing[:2], spacing], first.origin, first.direction)


def _check_geometry(path: Path, slices: Sequence[Header]) -> None:
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
        raise BadImage(
            f"{path} holds slices of different {what}, such as {first.file} and {header.file}; "
            "give one series of parallel slices."
        )


def _spacing(path: Path, slices: Sequence[Header]) -> float:
    """Millimetres between neighbours of sorted slices, which must be equal."""
    gaps = np.diff([header.position for header in slices])
    if gaps.min() < 1e-3:
        after = int(gaps.argmin())
        raise BadImage(
            f"{path} has two slices at one position, {slices[after].file} and {slices[after + 1].file}; "
            "give a series of one image."
        )
    steps = gaps / gaps.min()
    if steps.max() < 1 + TOLERANCE:
        return float(gaps.mean())
    rounded = np.rint(steps)
    if np.abs(steps - rounded).max() > TOLERANCE * rounded.max():
        raise BadImage(
            f"{path} has slices at unequal distances, from {gaps.min():.3g} to {gaps.max():.3g} mm; "
            "give a series of equal spacing."
        )
    missing, after = int((rounded - 1).sum()), int((rounded > 1).argmax())
    lack = "1 slice is" if missing == 1 else f"{missing} slices are"
    raise BadImage(
        f"{path}: {lack} missing after slice {after + 1} of {len(slices)} ({slices[after].file}, at "
        f"{slices[after].position:.2f} mm along the normal); copy or export the series again."
    )


def _opened(path: Path, voxels: bool) -> Iterator[tuple[list[Header], Sequence[np.ndarray]]]:
    """Yield the slices of each image file, and their array [k, j, i] if `voxels`."""
    images, others, series, unusable = [], [], set(), None
    with closing(_files(path)) as files:
        for name, file in files:
            start = _start(file) if file else b""
            if file is None or not looks_like_dicom(start) or PurePosixPath(name).name == "DICOMDIR":
                others.append((name, start))
                continue
            try:
                about = read_elements(file)
                if not about.is_image:
                    continue
            except CutShortError as error:
                raise _cut_short(path, name) from error
            images.append(name)
            series.add(about.text(elements.SERIES))
            try:
                opened = _slices(path, name, file, about, voxels)
            except BadImage as error:
                unusable = unusable or error
            else:
                yield opened
    if unusable and len(series) > 1:
        raise BadImage(f"{path} contains images of several series; put each in its own folder.") from unusable
    if unusable:
        raise unusable
    _check_others(path, images, others)


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(elements.PREAMBLE + len(elements.MAGIC))


def _check_others(path: Path, images: Sequence[str], others: Sequence[tuple[str, bytes]]) -> None:
    """Refuse a non-DICOM file, by name and first bytes, that may be a truncated or overwritten slice."""
    alike = {_alike(name) for name in images}
    for name, start in others:
        is_text = start and not re.search(rb"[\0-\x08]", start)
        if (
            PurePosixPath(name).suffix.lower() in (".dcm", ".ima")
            or _alike(name) in alike
            or (is_named_as_slice(name) and re.search(r"\d", name) and not is_text)
        ):
            raise _cut_short(path, name)


def _alike(name: str) -> str:
    """The part that the names of a series' slices have in common, compressed ones included."""
    return re.sub(r"[\d.]+", ".", re.sub(r"\.(gz|bz2|xz|zst|zip|z)$", "", name.lower()))


def read(path: str, voxels: bool) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read a file with GDCM: size, spacing, origin, direction, values per pixel, tags; and its array [k, j, i].

    For `guarded.call`. No array where voxels are not asked for or cannot be read; BadImage where nothing can.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    with quiet_itk():
        try:
            reader.ReadImageInformation()
            keys = {name: key for name, key in TAGS.items() if reader.HasMetaDataKey(key)}
            header = itk_geometry(reader) | {
                "values": reader.GetNumberOfComponents(),
                "tags": dict.fromkeys(TAGS, "")
                | {name: reader.GetMetaData(key).strip("\0 ") for name, key in keys.items()},
            }
        except RuntimeError as error:
            raise not_read(Path(path), error) from error
        try:
            return header, [SimpleITK.GetArrayFromImage(reader.Execute())] if voxels else []
        except RuntimeError as error:
            not_read(Path(path), error)
            return header, []


def _slices(
    path: Path, name: str, file: Path, about: Elements, voxels: bool
) -> tuple[list[Header], Sequence[np.ndarray]]:
    """The slices of an image file, one per frame, and their array [k, j, i] if `voxels`."""
    pixels = about.short(elements.ROWS) * about.short(elements.COLUMNS) * about.frames
    size = file.stat().st_size
    check_size(file, size, pixels, pixels, compressed=True)
    try:
        # Twice float64, into which GDCM rescales.
        found, arrays = call(f"{__name__}:read", file, voxels, about=file, memory=16 * pixels)
    except BadImage as error:
        raise _cut_short(path, name) from error
    if found["values"] > 1:
        raise BadImage(f"{path} has several values per voxel; give an image with one real number per voxel.")
    slices = _frames(path, name, about, found)
    if voxels and not arrays:
        stacked(path, slices)  # tells more than GDCM where frames lie on each other
        raise _cut_short(path, name)
    return slices, list(arrays[0]) if voxels else []


def _frames(path: Path, name: str, about: Elements, header: dict[str, Any]) -> list[Header]:
    """The slices of an image file, from what `read` returned."""
    *size, count = header["size"]
    places = _places(about)
    if count == 1 and len(places) != 1:
        direction = np.reshape(header["direction"], (3, 3))
        places = [(np.array(header["spacing"]), np.array(header["origin"]), direction)]
    if len(places) != count:
        why = f"holds {count} frames and does not say where each of them lies"
    elif not _is_rescaled(about):
        why = "gives its frames a rescale slope or intercept of their own"
    else:
        names = [f"{name} (frame {n})" if count > 1 else name for n in range(1, count + 1)]
        return [
            Header(names[n], tuple(size), spacing, origin, direction, header["tags"])
            for n, (spacing, origin, direction) in enumerate(places)
        ]
    raise BadImage(f"{path}: {name} {why}; export the series as one file a slice.")


def _told(frame: Elements, shared: Sequence[Elements], tag: int, count: int) -> np.ndarray:
    """A frame's numbers for a tag, from its own or the shared functional groups; NaN where they are not `count`."""
    groups = (group for part in (frame, *shared) for items in part.items.values() for group in items)
    found = next((group.numbers(tag) for group in groups if tag in group.values), [])
    return np.array(found if len(found) == count else [np.nan] * count)


def _places(about: Elements) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Spacing, origin and direction of each frame, as in `Header`; empty where a frame lacks one of them."""
    shared, places = about.items.get(elements.SHARED, []), []
    for frame in about.items.get(elements.PER_FRAME, []):
        origin = _told(frame, shared, elements.POSITION, 3)
        axes = _told(frame, shared, elements.ORIENTATION, 6).reshape(2, 3)
        rows, columns = _told(frame, shared, elements.PIXEL_SPACING, 2)
        lengths = np.linalg.norm(axes, axis=1)
        if not (
            np.isfinite([*origin, rows, columns]).all()
            and min(rows, columns) > 0
            and np.abs(lengths - 1).max() < TOLERANCE
            and abs(axes[0] @ axes[1]) < TOLERANCE
        ):
            return []
        axes /= lengths[:, None]
        # Between slices, which one slice alone does not tell.
        thick = [_told(frame, shared, tag, 1)[0] for tag in (elements.SLICE_SPACING, elements.THICKNESS)]
        between = next((value for value in thick if 0 < value < np.inf), 1.0)
        direction = np.column_stack([*axes, np.cross(*axes)])
        places.append((np.array([columns, rows, between]), origin, direction))
    return places


def _is_rescaled(about: Elements) -> bool:
    """Whether GDCM rescales frames as the file states: only one slope for all, and only for some classes."""
    shared, tags = about.items.get(elements.SHARED, []), (elements.SLOPE, elements.INTERCEPT)
    frames = about.items.get(elements.PER_FRAME, [])
    of_frames = {tuple(str(_told(frame, shared, tag, 1)[0]) for tag in tags) for frame in frames}
    of_file = tuple(str(float((about.numbers(tag) or [np.nan])[0])) for tag in tags)
    if of_frames <= {("nan", "nan"), ("1.0", "0.0")}:
        return len(of_frames) < 2
    return (
        len(of_frames) == 1
        and of_file in {("nan", "nan"), *of_frames}
        and about.text(elements.CLASS).removeprefix(elements.STORAGE) in RESCALED
    )


def _cut_short(path: Path, name: str) -> BadImage:
    what = path if path.is_file() and name == path.name else f"{path}: {name}"
    return BadImage(f"{what} is cut short or not a DICOM image; copy or export the series again.")


def _files(path: Path) -> Generator[tuple[str, Path | None]]:
    """Yield the name and path of each file in a folder or an archive, or of the one file.

    The path holds until the next is asked for; it is None for what is no plain file, such as a link that leads nowhere.
    """
    if not path.is_dir():
        yield from _members(path) if is_series(path) else [(path.name, path)]
        return
    plain = files_of(path)
    for file in [*plain, *sorted(set(path.iterdir()) - set(plain))]:
        if not file.name.startswith(".") and not file.is_dir():
            name = _printable(file.name)
            if name != file.name:  # it ends SimpleITK's process
                raise BadImage(f"{path}: the name of {name} is not UTF-8; rename it.")
            yield name, file if file.is_file() else None


def _printable(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _members(path: Path) -> Iterator[tuple[str, Path | None]]:
    """Yield the members of an archive, as `_files` does.

    They are unpacked one at a time, under a name of our own: nothing in an archive decides where it is written, and no
    link in it is followed. One to a file that is in the archive already, as `tar` writes a second name, adds nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slice"
        try:
            with (
                _decompressed(path) as stream,
                tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as archive,
            ):
                for member in archive:
                    name = _printable(PurePosixPath(member.name).name)
                    if member.isdir() or member.islnk() or name.startswith("."):
                        continue
                    if not member.isreg():
                        yield name, None
                        continue
                    content = archive.extractfile(member)
                    assert content  # as every plain file has
                    with file.open("wb") as unpacked:
                        shutil.copyfileobj(content, unpacked)
                    yield name, file
                # Behind the zeros that end an archive, another may follow, or the rest of one that was zeroed there.
                while rest := archive.fileobj.read(2**20):
                    if any(rest):
                        raise tarfile.ReadError("more behind the end")
                stream.read()  # a compressed archive's checksum is at its very end
        except DAMAGED as error:
            raise BadImage(f"{path} is not an archive, or is cut short or damaged; copy it again.") from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason = f"no space left to unpack {path}, set $TMPDIR"
                raise OSError(error.errno, reason, folder) from error
            raise


class _Member(tarfile.TarInfo):
    """A member whose header must be right: tarfile takes a damaged one for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except (
            tarfile.InvalidHeaderError,  # type: ignore[attr-defined]  # the stubs lack it
            tarfile.TruncatedHeaderError,  # type: ignore[attr-defined]  # and this one
        ) as error:
            raise tarfile.ReadError(str(error)) from error


def _decompressed(path: Path) -> BufferedIOBase:
    """A stream of the archive's content, whatever its name says about compression."""
    if is_gzipped(path):
        return gzip.open(path)
    # Without a checksum, the zeros that end an archive are all that a shorter one would lack.
    with path.open("rb") as stream:
        stream.seek(-min(BLOCK, path.stat().st_size), os.SEEK_END)
        if stream.read() != bytes(BLOCK):
            raise tarfile.ReadError("no end")
    return path.open("rb")
