"""The bytes of an image file before a library opens it: its kind, completeness and checksum."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cohortreg.errors import BadImage

GZIP = b"\x1f\x8b"
#: No deflate stream becomes more than so many times as long.
DEFLATE_MOST = 1032
#: An image of more voxels is none that fits the memory that registration has.
MOST_VOXELS = 2**31
CHUNK, PIECE = 2**20, 2**24
#: Bytes behind an image's voxels that are still looked at for the checksum.
MOST_BEHIND = 2**30


def is_gzipped(path: Path) -> bool:
    """Whether a file's first bytes are those of gzip, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(len(GZIP)) == GZIP


def beginning(path: Path, count: int) -> bytes:
    """The first bytes of a file's content, decompressed where it is compressed; fewer where it has no more.

    Raises:
        BadImage: The compressed stream is damaged there.
    """
    with path.open("rb") as stream:
        if not is_gzipped(path):
            return stream.read(count)
        start = b""
        for piece in inflated(path, stream, 0, count):
            start += piece
            if len(start) >= count:
                break
    return start[:count]


def check_size(path: Path, size: int, needed: int, voxels: int, compressed: bool) -> None:
    """Raise BadImage where `size` bytes cannot hold what the header claims, or the claim exceeds any image.

    To be called before memory is allocated.
    """
    if voxels > MOST_VOXELS:
        raise BadImage(
            f"{path} claims {voxels} voxels, more than {MOST_VOXELS}; correct its header, or crop or resample it."
        )
    if needed > size * (DEFLATE_MOST if compressed else 1):
        raise BadImage(
            f"{path} is cut short or its header damaged: {size} bytes cannot hold the {needed} that it claims; "
            "copy or export it again."
        )


def content(path: Path, needed: int) -> bytearray:
    """Read the first `needed` bytes of a file, decompressed where it is compressed.

    A gzip stream is read to its end, where its checksum and length are. Several members one after the other are one
    stream; what follows the last of them does not count.

    Raises:
        BadImage: The file is shorter or its checksum does not match.
    """
    kept = bytearray(needed)
    with path.open("rb") as stream:
        if not is_gzipped(path):
            if stream.readinto(kept) < needed:
                raise cut_short(path)
            return kept
        at = 0
        for piece in inflated(path, stream, needed):
            fits = min(len(piece), needed - at)
            kept[at : at + fits] = memoryview(piece)[:fits]
            at += fits
    return kept


def inflated(path: Path, stream: BinaryIO, needed: int, most: int = PIECE) -> Iterator[bytes]:
    """Inflate a gzip or zlib stream in pieces of `most` bytes, to its end, and verify its checksum.

    Raises:
        BadImage: It is damaged, or holds fewer than `needed` bytes or far more.
    """
    inflate, data, held = zlib.decompressobj(47), stream.read(CHUNK), 0
    try:
        while data:
            piece = inflate.decompress(data, most)
            held += len(piece)
            if held > needed + MOST_BEHIND:
                raise BadImage(f"{path} contains far more than its header says; export it again.")
            yield piece
            if not inflate.eof:
                data = inflate.unconsumed_tail or stream.read(CHUNK)
                continue
            data = inflate.unused_data
            if len(data) < len(GZIP):
                data += stream.read(CHUNK)
            if not data.startswith(GZIP):
                break
            inflate = zlib.decompressobj(47)
    except zlib.error as error:
        raise BadImage(
            f"{path} is cut short or damaged (its checksum does not match); copy or export it again."
        ) from error
    if not inflate.eof or held < needed:
        raise cut_short(path)


def cut_short(path: Path) -> BadImage:
    """The error for a file that ends too early."""
    return BadImage(f"{path} is cut short or damaged; copy or export it again.")


def no_image(path: Path) -> BadImage:
    """The error for a file that no library can read."""
    return BadImage(f"{path} is not an image, or is cut short or damaged; export or copy it again.")


def read_through(path: Path) -> None:
    """Read a file to its end and keep nothing.

    A fault of the disk, which a library reported as one of the file, is raised here as the OSError that it is.
    """
    with path.open("rb") as stream:
        while stream.read(CHUNK):
            pass
