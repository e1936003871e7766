"""The elements of a DICOM file that describe it, read without a library and without pixels (PS3.5, section 7).

GDCM reads pixels; it has no word for files that are cut short, hold no image, or give each of many frames a place.
"""

import io
import os
import re
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

#: Behind a preamble a DICOM file says that it is one; some archives leave out both.
PREAMBLE, MAGIC = 128, b"DICM"
#: Elements that are kept, wherever they stand, by group and number.
CLASS, META_CLASS, SYNTAX, SERIES = 0x00080016, 0x00020002, 0x00020010, 0x0020000E
SAMPLES, FRAMES, ROWS, COLUMNS, BITS = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280100
POSITION, ORIENTATION, PIXEL_SPACING = 0x00200032, 0x00200037, 0x00280030
THICKNESS, SLICE_SPACING, INTERCEPT, SLOPE = 0x00180050, 0x00180088, 0x00281052, 0x00281053
KEPT = {CLASS, META_CLASS, SYNTAX, SERIES, SAMPLES, FRAMES, ROWS, COLUMNS, BITS}
KEPT |= {POSITION, ORIENTATION, PIXEL_SPACING, THICKNESS, SLICE_SPACING, INTERCEPT, SLOPE}
#: Sequences that are kept: what all frames share, what each has of its own, and in both plane, measures and values.
SHARED, PER_FRAME = 0x52009229, 0x52009230
SEQUENCES = {SHARED, PER_FRAME, 0x00209113, 0x00209116, 0x00289110, 0x00289145}
PIXELS = {0x7FE00010, 0x7FE00008, 0x7FE00009}
ITEM, ITEM_END, SEQUENCE_END, UNDEFINED = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFFFFFF
#: Value representations, those with four bytes of length first.
LONG = set(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SHORT = set(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
#: Transfer syntaxes whose pixels are not compressed.
NATIVE = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", BIG_ENDIAN, DEFLATED}
#: SOP classes of images (PS3.4, table B.5-1); reports, structures, plans, presentations and the like are others.
STANDARD, STORAGE = "1.2.840.10008.", "1.2.840.10008.5.1.4.1.1."
IMAGE_CLASS = re.compile(
    re.escape(STORAGE) + r"((1|2|3|5|6|7|12|13|14|20|30|128|130|77\.1)(\.\d+)*|4(\.[134])?|66\.4|481\.[12])"
)
DEEPEST = 64
#: Bytes of a deflated file, inflated.
LARGEST = 2**30


class CutShortError(Exception):
    """A file that ends before what it announces."""


class UnlikeError(Exception):
    """Bytes that cannot begin an element."""


@dataclass
class Elements:
    """A data set: values as bytes, items of sequences, both by tag.

    Attributes:
        pixels: Whether it holds any.
        order: Of bytes, as `struct` names it.
        strange: Whether it goes on in a way that the standard does not know, so that all of it was not read.
    """

    values: dict[int, bytes] = field(default_factory=dict)
    items: dict[int, list["Elements"]] = field(default_factory=dict)
    pixels: bool = False
    order: str = "<"
    strange: bool = False

    def text(self, tag: int) -> str:
        """A value as text; "" where there is none."""
        return self.values.get(tag, b"").decode("ascii", "replace").strip("\0 ")

    def numbers(self, tag: int) -> list[float]:
        """Decimal numbers of a value; empty where there are none, or one of them is none."""
        try:
            return [float(part) for part in self.text(tag).split("\\")] if self.text(tag) else []
        except ValueError:
            return []

    def short(self, tag: int) -> int:
        """An unsigned number of two bytes; 0 where there is none."""
        value = self.values.get(tag, b"")
        return struct.unpack(f"{self.order}H", value[:2])[0] if len(value) >= 2 else 0

    @property
    def frames(self) -> int:
        """The number of frames that a file declares."""
        text = self.text(FRAMES)
        return int(text) if re.fullmatch(r"\d{1,9}", text) else 1

    @property
    def is_image(self) -> bool:
        """Whether there is an image.

        What is strange is not for GDCM, which asks for gigabytes where a length is wrong.

        Raises:
            CutShortError: There should be one that GDCM could read.
        """
        sop_class = self.text(CLASS) or self.text(META_CLASS)
        private = not sop_class.startswith(STANDARD) and (not sop_class or ROWS in self.values)
        should = private or IMAGE_CLASS.fullmatch(sop_class)
        if self.strange if self.pixels else should:
            raise CutShortError
        return self.pixels


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM's, with or without a preamble."""
    if start[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC:
        return True
    if len(start) < 8 or start[:2] not in (b"\2\0", b"\x08\0") or start[3] != 0:
        return False
    length = struct.unpack("<I", start[4:8])[0]
    implicit = length == 4 if start[2] == 0 else length < 2**16 and length % 2 == 0
    return start[4:6] in LONG | SHORT or (start[:2] == b"\x08\0" and implicit)


def read_elements(file: Path) -> Elements:
    """Read the elements of a DICOM file that precede its pixels.

    Raises:
        CutShortError: The file ends before what it announces, also within its pixels.
    """
    elements = Elements()
    with file.open("rb") as stream, suppress(UnlikeError):
        elements.strange = True  # unless it is read to its end
        start = stream.read(PREAMBLE + len(MAGIC))
        stream.seek(len(start) if start[PREAMBLE:] == MAGIC else 0)
        reader = _Reader(stream, os.fstat(stream.fileno()).st_size, explicit=True)
        while reader.peek()[:2] == struct.pack("<H", 2):  # the group of meta information
            reader.read_element(elements, reader.size, native=True, depth=0)
        syntax = elements.text(SYNTAX)
        if syntax == DEFLATED:
            inflated = _inflated(stream.read())
            reader = _Reader(io.BytesIO(inflated), len(inflated), explicit=True)
        elif syntax == BIG_ENDIAN:
            elements.order = reader.order = ">"
        reader.explicit = reader.order == ">" or reader.peek()[4:6] in LONG | SHORT
        reader.read(elements, reader.size, syntax in NATIVE)
        elements.strange = False
    return elements


def _inflated(data: bytes) -> bytes:
    """Inflate a stream without a header."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = stream.decompress(data, LARGEST)
    except zlib.error as error:
        raise UnlikeError from error
    if not stream.eof:
        raise UnlikeError if stream.unconsumed_tail else CutShortError
    return inflated


@dataclass
class _Reader:
    """Where elements are read from, of a `size`; if `explicit`, they say their value representation."""

    stream: IO[bytes]
    size: int
    explicit: bool
    order: str = "<"

    def peek(self) -> bytes:
        """Peek at the next eight bytes, or fewer."""
        start = self.stream.read(8)
        self.stream.seek(-len(start), os.SEEK_CUR)
        return start

    def read(self, into: Elements, end: int, native: bool = True, depth: int = 0) -> None:
        """Read elements up to a position in the stream, the end of an item, or the pixels."""
        while self.stream.tell() < end and self.read_element(into, end, native, depth):
            pass

    def read_element(self, into: Elements, end: int, native: bool, depth: int) -> bool:
        """Read one element; False where nothing that matters follows."""
        tag, representation, length = self._head()
        if tag == ITEM_END and depth:
            return False
        if tag >> 16 == 0xFFFE:
            raise UnlikeError
        if tag in PIXELS and not depth:
            into.pixels = True
            bits = into.short(ROWS) * into.short(COLUMNS) * into.frames * into.short(BITS)
            if length == UNDEFINED:
                self._skip_items(end, depth)
            elif native and into.short(SAMPLES) == 1 and 8 * length < bits:  # of grey ones
                raise CutShortError
            else:
                self._skip(length, end)
            return False
        if tag in SEQUENCES:
            into.items[tag] = self._items(length, end, depth + 1)
        elif length == UNDEFINED:
            # Of unknown representation, a sequence is implicit whatever the file is (PS3.5, section 6.2.2).
            kept, self.explicit = self.explicit, self.explicit and representation != b"UN"
            self._skip_items(end, depth + 1)
            self.explicit = kept
        elif tag in KEPT:
            stop = self._stop(length, end)
            into.values[tag] = self._exactly(min(length, 1024))  # none of those kept is long
            self.stream.seek(stop)
        else:
            self._skip(length, end)
        return True

    def _head(self) -> tuple[int, bytes, int]:
        """Tag, representation (b"" where elements do not say it), and length of the next element."""
        group, number = self._unpack("HH", 4)
        tag = group << 16 | number
        if group == 0xFFFE or not self.explicit:
            return tag, b"", self._unpack("I", 4)[0]
        representation = self._exactly(2)
        if representation in LONG:
            self._exactly(2)
            return tag, representation, self._unpack("I", 4)[0]
        if not representation.isalpha():
            # Some write implicit elements into an explicit file, as pydicom and GDCM know.
            return tag, b"", struct.unpack(self.order + "I", representation + self._exactly(2))[0]
        if representation not in SHORT:
            raise UnlikeError
        return tag, representation, self._unpack("H", 2)[0]

    def _items(self, length: int, end: int, depth: int) -> list[Elements]:
        """The items of a sequence."""
        if depth > DEEPEST:
            raise UnlikeError
        items: list[Elements] = []
        stop = end if length == UNDEFINED else self._stop(length, end)
        while self.stream.tell() < stop:
            tag, _, size = self._head()
            if tag == SEQUENCE_END and length == UNDEFINED:
                return items
            if tag != ITEM:
                raise UnlikeError
            item = Elements(order=self.order)
            self.read(item, stop if size == UNDEFINED else self._stop(size, stop), depth=depth)
            items.append(item)
        if length == UNDEFINED:
            raise CutShortError
        return items

    def _skip_items(self, end: int, depth: int) -> None:
        """Pass a sequence, or fragments of pixels, of undefined length."""
        if depth > DEEPEST:
            raise UnlikeError
        while True:
            tag, _, size = self._head()
            if tag == SEQUENCE_END:
                return
            if tag != ITEM:
                raise UnlikeError
            if size == UNDEFINED:
                self.read(Elements(order=self.order), end, depth=max(depth, 1))
            else:
                self._skip(size, end)

    def _stop(self, length: int, end: int) -> int:
        stop = self.stream.tell() + length
        if stop > end:
            raise CutShortError
        return stop

    def _skip(self, length: int, end: int) -> None:
        self.stream.seek(self._stop(length, end))

    def _unpack(self, form: str, length: int) -> tuple[Any, ...]:
        return struct.unpack(self.order + form, self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        value = self.stream.read(length)
        if len(value) < length:
            raise CutShortError
        return value
