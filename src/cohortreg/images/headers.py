"""What the files that ITK reads claim, compared with what they hold, before ITK reads their voxels.

ITK fills what is missing with zeros, does not look at most checksums, and follows whatever a header refers to.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from cohortreg.errors import BadImage
from cohortreg.images.stored import check_size, content, cut_short, inflated, no_image
from cohortreg.inputs import check_file

#: A text header is not longer.
MOST_HEADER = 2**20
META_BYTES = {
    b"MET_CHAR": 1, b"MET_UCHAR": 1, b"MET_SHORT": 2, b"MET_USHORT": 2, b"MET_INT": 4, b"MET_UINT": 4,
    b"MET_LONG": 4, b"MET_ULONG": 4, b"MET_LONG_LONG": 8, b"MET_ULONG_LONG": 8, b"MET_FLOAT": 4, b"MET_DOUBLE": 8,
}  # fmt: skip
NRRD_BYTES = {
    1: ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"),
    2: ("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort", "unsigned short",
        "unsigned short int", "uint16", "uint16_t"),
    4: ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"),
    8: ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t",
        "ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t", "double"),
}  # fmt: skip
TIFF_MAGIC = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}
#: Bytes of a value of each of its types.
TIFF_BYTES = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
OFFSETS, COUNTS = (273, 324), (279, 325)  # of strips and of tiles
MOST_PAGES = 2**17


def check_text_header(path: Path) -> int | None:
    """Bytes of the voxels of a MetaImage or NRRD file; None of another format, of which nothing is asked.

    Raises:
        BadImage: It is not whole, or refers to what is no plain file beside or below it.
    """
    with path.open("rb") as stream:
        start = stream.read(MOST_HEADER)
    if start.startswith(b"NRRD"):
        return _check_nrrd(path, start)
    elif path.name.lower().endswith((".mha", ".mhd")):
        return _check_meta(path, start)
    return None


def check_voxels(path: Path, reader: str, needed: int) -> None:
    """Raise BadImage where a picture, of a format by ITK's name and with so many bytes of voxels, is not whole."""
    if reader in ("TIFFImageIO", "LSMImageIO"):
        _check_tiff(path)
    elif reader in ("JPEGImageIO", "BMPImageIO"):
        _check_picture(path)
    elif reader == "GiplImageIO":
        content(path, 256 + needed)


def _check_meta(path: Path, start: bytes) -> int:
    fields, at = {}, 0
    while b"ElementDataFile" not in fields:
        end = start.find(b"\n", at)
        if end < 0:
            raise no_image(path)
        key, _, value = start[at:end].partition(b"=")
        fields[key.strip()], at = value.strip(), end + 1
    if fields.get(b"BinaryData", b"T")[:1] not in b"Tt1":
        raise _text(path)
    try:
        sizes = [int(size) for size in fields[b"DimSize"].split()]
        element = META_BYTES[fields.get(b"ElementType", b"")] * int(fields.get(b"ElementNumberOfChannels", 1))
        skipped = max(int(fields.get(b"HeaderSize", 0)), 0)
        packed = int(fields.get(b"CompressedDataSize", 0))
    except (KeyError, ValueError) as error:
        raise no_image(path) from error
    name = fields[b"ElementDataFile"]
    local = name in (b"LOCAL", b"Local", b"local")
    file, begin = (path, at) if local else (_beside(path, name.decode("utf-8", "surrogateescape")), skipped)
    compressed = fields.get(b"CompressedData", b"F")[:1] in b"Tt1"
    if packed > file.stat().st_size:
        raise cut_short(file)
    return _check_data(file, begin, sizes, element, compressed)


def _check_nrrd(path: Path, start: bytes) -> int:
    lines, end = {}, 0
    for line, end in _lines(path, start):  # noqa: B007  (used behind the loop)
        key, colon, value = line.partition(b":")
        if colon and not value.startswith(b"=") and not line.startswith(b"#"):
            lines[key.strip().lower().replace(b" ", b"")] = value.strip()
    encoding = lines.get(b"encoding", b"").lower()
    if encoding not in (b"raw", b"gz", b"gzip"):
        raise _text(path) if encoding in (b"txt", b"text", b"ascii", b"hex") else no_image(path)
    kind = lines.get(b"type", b"").decode("latin-1").lower()
    try:
        element = next(size for size, names in NRRD_BYTES.items() if kind in names)
        sizes = [int(size) for size in lines[b"sizes"].split()]
        skipped = int(lines.get(b"byteskip", 0))
        rows = int(lines.get(b"lineskip", 0))
    except (KeyError, ValueError, StopIteration) as error:
        raise no_image(path) from error
    name = lines.get(b"datafile")
    if rows or (skipped > 0 and encoding != b"raw"):
        raise BadImage(f"{path} skips a part of its data file; save it again as .nrrd or .nii.gz.")
    file, begin = (path, end) if name is None else (_beside(path, name.decode("utf-8", "surrogateescape")), 0)
    return _check_data(file, begin + max(skipped, 0), sizes, element, encoding != b"raw")


def _lines(path: Path, start: bytes) -> Iterator[tuple[bytes, int]]:
    """The lines of a header that an empty line, or the end of the file, ends, and where each one ends."""
    at = 0
    while at < len(start):
        end = start.find(b"\n", at)
        if end < 0:
            end = len(start)
        line, at = start[at:end].rstrip(b"\r"), min(end + 1, len(start))
        yield line, at
        if not line:
            return
    if len(start) == MOST_HEADER:
        raise no_image(path)


def _beside(path: Path, name: str) -> Path:
    """The file of voxels that a header names, which must be one plain file beside the header or below its folder."""
    plain = Path(name)
    if "%" in name or name.upper().split()[:1] == ["LIST"]:
        raise BadImage(f"{path} gives its voxels as a pattern or list of files; save the image as one file.")
    if plain.is_absolute() or ".." in plain.parts or not name:
        raise BadImage(
            f"{path} refers to a data file elsewhere, {name!r}; put it beside the header, or save as one file."
        )
    file = path.parent / plain
    if not check_file(file, header=path).st_size:
        raise cut_short(file)
    return file


def _check_data(file: Path, begin: int, sizes: Sequence[int], element: int, compressed: bool) -> int:
    """Bytes of the voxels, which must be there: compressed ones are unpacked once, since ITK looks at no checksum."""
    if not sizes or min(sizes) < 1 or element < 1:
        raise no_image(file)
    needed, size = math.prod(sizes) * element, max(file.stat().st_size - begin, 0)
    check_size(file, size, needed, math.prod(sizes), compressed)
    if compressed:
        with file.open("rb") as stream:
            stream.seek(begin)
            for _ in inflated(file, stream, needed):
                pass
    return needed


def _check_tiff(path: Path) -> None:
    """Follow the chain of pages to its end: a file cut short has fewer, or ends within a page's strips or tiles."""
    size = path.stat().st_size
    with path.open("rb") as stream:

        def numbers(at: int, kind: str, count: int = 1) -> tuple[int, ...]:
            length = struct.calcsize(f"{order}{count}{kind}")
            if at + length > size:
                raise cut_short(path)
            stream.seek(at)
            return struct.unpack(f"{order}{count}{kind}", stream.read(length))

        magic = stream.read(4)
        order, big = TIFF_MAGIC.get(magic, "<"), b"+" in magic
        word, entry, few = ("Q", 20, "Q") if big else ("I", 12, "H")
        (page,) = numbers(8 if big else 4, word)
        visited: set[int] = set()
        while page:
            if page in visited or len(visited) > MOST_PAGES:
                raise cut_short(path)
            visited.add(page)
            (count,) = numbers(page, few)
            first, parts = page + struct.calcsize(few), {}
            for at in range(first, first + count * entry, entry):
                tag, kind = numbers(at, "H", 2)
                (many,) = numbers(at + 4, word)
                place = at + entry - struct.calcsize(word)
                length = many * TIFF_BYTES.get(kind, 0)
                if length > struct.calcsize(word):  # else the value stands in its entry
                    (place,) = numbers(place, word)
                    if place + length > size:
                        raise cut_short(path)
                if tag in (*OFFSETS, *COUNTS) and kind in TIFF_TYPES:
                    parts[tag] = numbers(place, TIFF_TYPES[kind], many)
            for offsets, counts in zip(OFFSETS, COUNTS, strict=True):
                spans = zip(parts.get(offsets, ()), parts.get(counts, ()), strict=False)
                if max((begin + length for begin, length in spans), default=0) > size:
                    raise cut_short(path)
            (page,) = numbers(first + count * entry, word)


def _check_picture(path: Path) -> None:
    """Pillow refuses a JPEG or BMP that is cut short, of which ITK makes the rest up."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # the size is known, and was looked at
    try:
        with Image.open(path) as picture:
            picture.load()
    except OSError as error:
        if error.errno is not None:
            raise
        raise cut_short(path) from error
    except (SyntaxError, ValueError) as error:
        raise cut_short(path) from error


def _text(path: Path) -> BadImage:
    return BadImage(f"{path} stores its voxels as text; save it in binary, for instance as .nii.gz.")
