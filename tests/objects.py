"""DICOM objects that tests write element by element, since no library here writes them: of many frames, without pixels,
in any transfer syntax."""

import struct
import zlib
from pathlib import Path

import numpy as np

MR, ENHANCED_MR, REPORT = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("4", "4.1", "88.11"))
IMPLICIT, EXPLICIT, DEFLATED, BIG = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
LONG = ("OB", "OW", "SQ", "UN")


class Written:
    """Elements in one transfer syntax; undefined: of sequences and items, lengths are left open."""

    def __init__(self, syntax: str = EXPLICIT, undefined: bool = False):
        self.syntax, self.undefined = syntax, undefined
        self.order = ">" if syntax == BIG else "<"

    def element(self, tag: int, kind: str, value: object) -> bytes:
        """A value of text, bytes, or an unsigned number."""
        if isinstance(value, int):
            value = struct.pack(self.order + ("H" if kind == "US" else "I"), value)
        data = value.encode() if isinstance(value, str) else value
        data += (b"\0" if kind in ("UI", *LONG) else b" ") * (len(data) % 2)
        return self._head(tag, kind, len(data)) + data

    def sequence(self, tag: int, *items: bytes) -> bytes:
        content = b"".join(self._item(item) for item in items)
        if self.undefined:
            return self._head(tag, "SQ", 2**32 - 1) + content + self._mark(0xFFFEE0DD, 0)
        return self._head(tag, "SQ", len(content)) + content

    def _item(self, content: bytes) -> bytes:
        if self.undefined:
            return self._mark(0xFFFEE000, 2**32 - 1) + content + self._mark(0xFFFEE00D, 0)
        return self._mark(0xFFFEE000, len(content)) + content

    def _mark(self, tag: int, length: int) -> bytes:
        return struct.pack(self.order + "HHI", tag >> 16, tag & 0xFFFF, length)

    def _head(self, tag: int, kind: str, length: int) -> bytes:
        if self.syntax == IMPLICIT:
            return self._mark(tag, length)
        head = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF) + kind.encode()
        return head + struct.pack(
            self.order + ("HI" if kind in LONG else "H"), *([0] * (kind in LONG)), length
        )


def write_object(
    path: Path, sop_class: str, body: bytes, syntax: str = EXPLICIT, preamble: bool = True
) -> Path:
    """A file of meta elements and a data set that begins behind (0008,0016)."""
    meta = Written()
    about = meta.element(0x00020001, "OB", b"\0\1") + meta.element(0x00020002, "UI", sop_class)
    about += meta.element(0x00020003, "UI", "1.2.3") + meta.element(0x00020010, "UI", syntax)
    about = meta.element(0x00020000, "UL", len(about)) + about
    body = Written(syntax).element(0x00080016, "UI", sop_class) + body
    if syntax == DEFLATED:
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    path.write_bytes((bytes(128) + b"DICM" if preamble else b"") + about + body)
    return path


def write_report(path: Path, series: str = "1.2.6", sop_class: str = REPORT) -> Path:
    """An object without pixels."""
    to = Written()
    body = to.element(0x00080060, "CS", "SR") + to.element(0x0020000E, "UI", series)
    return write_object(path, sop_class, body + to.sequence(0x0040A730, to.element(0x0040A040, "CS", "TEXT")))


def _pixels(to: Written, volume: np.ndarray, frames: bool) -> bytes:
    """What describes pixels of 16 bits [k, j, i]."""
    of_frames = to.element(0x00280008, "IS", str(len(volume))) if frames else b""
    about = to.element(0x00280002, "US", 1) + to.element(0x00280004, "CS", "MONOCHROME2") + of_frames
    about += to.element(0x00280010, "US", volume.shape[1]) + to.element(0x00280011, "US", volume.shape[2])
    for tag, value in ((0x00280100, 16), (0x00280101, 16), (0x00280102, 15), (0x00280103, 1)):
        about += to.element(tag, "US", value)
    return about


def _stored(to: Written, volume: np.ndarray) -> bytes:
    return to.element(0x7FE00010, "OW", volume.astype(to.order + "i2").tobytes())


def decimals(values) -> str:
    return "\\".join(f"{value:.10g}" for value in np.ravel(values))


def write_slice(
    path: Path,
    plane: np.ndarray,
    position,
    series: str = "1.2.5",
    syntax: str = EXPLICIT,
    preamble: bool = True,
) -> Path:
    """An axial slice [j, i] with pixels of 1.5 x 2 mm."""
    to = Written(syntax)
    body = to.element(0x00080060, "CS", "MR") + to.element(0x0020000E, "UI", series)
    body += to.element(0x00200032, "DS", decimals(position)) + to.element(
        0x00200037, "DS", "1\\0\\0\\0\\1\\0"
    )
    # Spacing stands among what describes the pixels, whose elements are in the order of their numbers.
    about = _pixels(to, plane[None], frames=False)
    spacing = to.element(0x00280030, "DS", "2\\1.5")
    behind = about.index(to.element(0x00280100, "US", 16))
    return write_object(
        path, MR, body + about[:behind] + spacing + about[behind:] + _stored(to, plane), syntax, preamble
    )


def write_frames(
    path: Path,
    volume: np.ndarray,
    positions,
    direction: np.ndarray | None = None,
    spacing=(1.5, 2.0, 3.0),
    to: Written | None = None,
    series: str = "1.2.5",
    sop_class: str = ENHANCED_MR,
    rescale=(),
    own: bool = False,
    places: bool = True,
    preamble: bool = True,
) -> Path:
    """One file of frames [k, j, i], each at its position in LPS millimetres.

    direction: its first two columns are those of rows and columns. spacing: along columns, rows, between slices.
    rescale: none, or (slope, intercept) of each frame. own: orientation and spacing stand with each frame, not once for
    all. places: whether the file says where frames are.
    """
    to, direction = to or Written(), np.eye(3) if direction is None else direction
    axes = to.sequence(0x00209116, to.element(0x00200037, "DS", decimals(direction[:, :2].T)))
    measures = to.element(0x00180050, "DS", decimals(spacing[2])) + to.element(
        0x00180088, "DS", decimals(spacing[2])
    )
    measures = to.sequence(0x00289110, measures + to.element(0x00280030, "DS", decimals(spacing[1::-1])))
    frames = []
    for n, position in enumerate(positions):
        frame = to.sequence(0x00209113, to.element(0x00200032, "DS", decimals(position)))
        frame += (axes + measures) if own else b""
        if rescale:
            slope, intercept = rescale[n]
            values = to.element(0x00281052, "DS", decimals(intercept)) + to.element(
                0x00281053, "DS", decimals(slope)
            )
            frame += to.sequence(0x00289145, values + to.element(0x00281054, "LO", "US"))
        frames.append(frame)
    body = to.element(0x00080060, "CS", "MR") + to.element(0x0020000E, "UI", series)
    body += _pixels(to, volume, frames=True)
    if places:
        body += to.sequence(0x52009229, b"" if own else axes + measures) + to.sequence(0x52009230, *frames)
    return write_object(path, sop_class, body + _stored(to, volume), to.syntax, preamble)
