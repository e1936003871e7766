"""Images in several files: a header and the voxels that it names or that go by its name."""

import os
import re
from collections.abc import Iterator
from itertools import islice
from math import prod
from pathlib import Path

from cohortreg.errors import BadImage

#: Bytes of a header, and files that it names, at most: nothing that anybody writes comes near, and a damaged one ends.
LONGEST, MOST = 2**22, 100_000
#: Suffixes of which one file's voxels or geometry lie in the others, if they are there.
TOGETHER = ((".hdr", ".img", ".hdr.gz", ".img.gz", ".mat"), (".spr", ".sdt"))
#: A file name with a number in it, as C writes one.
NUMBERED = re.compile(r"([^%]*)%(0?)(\d{0,2})[diu]([^%]*)")


def referred(path: Path) -> list[Path]:
    """The files, beside a plain file, that a library opens when it reads that as an image; they may be missing.

    MetaImage and NRRD headers name them: one, a list, or names with a number in them; from their own folder, or
    anywhere else, as the libraries follow them.

    Raises:
        BadImage: A header names them in a form that is not safe to hand to a library.
        OSError: It cannot be read.
    """
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        named = _of_metaimage(path)
    elif name.endswith((".nhdr", ".nrrd")):
        named = _of_nrrd(path)
    elif name == "2dseq":
        named = ["visu_pars"]
    else:
        return _together(path)
    if any(re.search(r"[\0-\x1f\ud800-\udfff]", file) for file in named):
        raise BadImage(
            f"{path} names a file with bytes that are not UTF-8 text; rename it, or export it again."
        )
    files = [path.parent / file for file in named]
    if path in files:
        raise BadImage(f"{path} names itself as its data file; export it again.")
    return files


def _together(path: Path) -> list[Path]:
    """The files that are there under the same name with another suffix of the same format."""
    name = path.name.lower()
    for suffixes in TOGETHER:
        if name.endswith(suffixes):
            own = next(suffix for suffix in reversed(suffixes) if name.endswith(suffix))
            stem = path.name[: -len(own)]
            names = [stem + written for suffix in suffixes for written in (suffix, suffix.upper())]
            return [path.parent / name for name in names if os.path.lexists(path.parent / name)]
    return []


def _of_metaimage(path: Path) -> list[str]:
    """The files that ElementDataFile, the last field of a header, names."""
    lines, sizes = _lines(path), []
    for line in lines:
        key, _, value = re.sub("[=:]", "=", line, count=1).partition("=")
        key, value = key.strip().lower(), value.strip(" \t=:")
        if key == "dimsize":
            sizes = [int(size) for size in re.findall(r"\d{1,9}", value)]
        elif key.startswith("elementdatafile"):
            break
    else:
        return []
    words = value.split()
    if not words or value.upper() == "LOCAL":
        return []
    if words[0].upper() == "LIST":
        axes = int(words[1]) if re.fullmatch(r"\d", " ".join(words[1:2])) else len(sizes) - 1
        return _listed(path, lines, prod(sizes[axes:]) if sizes else None)
    if "%" in value:
        return _numbered(path, words, sizes[-1] if sizes else 1)
    return [value]


def _of_nrrd(path: Path) -> list[str]:
    """What the field "data file" says; voxels behind the header's empty line have none."""
    lines = _lines(path)
    for line in lines:
        field = re.match(r"data ?file:(?!=)\s*(.*)", line, re.IGNORECASE)
        if field or not line:
            break
    else:
        return []
    value = field[1] if field else ""
    if value == "-":
        raise BadImage(f"{path} takes its voxels from standard input; name a file instead.")
    if re.fullmatch(r"LIST(\s+\d+)?", value):
        return _listed(path, lines, None)
    if re.match(r"\S*%\S*d\S*\s", value):
        return _numbered(path, value.split(), 1)
    return [value] if value else []


def _listed(path: Path, lines: Iterator[str], count: int | None) -> list[str]:
    """The names in the lines that follow, one each: `count` of them, or all if None."""
    limit = MOST if count is None else min(count, MOST)
    names = list(islice((line for line in lines if line), limit + (count is None)))
    if len(names) > MOST or (count or 0) > MOST:
        raise BadImage(f"{path} names more than {MOST} files for its voxels; export it again.")
    return names


def _numbered(path: Path, words: list[str], last: int) -> list[str]:
    """The names of a pattern with its first number, last number and step, which may be left out."""
    pattern = NUMBERED.fullmatch(words[0])
    numbers = [int(word) for word in words[1:4] if re.fullmatch(r"-?\d{1,9}", word)]
    if pattern is None or len(numbers) < len(words[1:4]) or 0 in numbers[2:]:
        raise BadImage(
            f"{path} names the files of its voxels by a pattern other than a name with one number, such as "
            "slice%03d.raw 1 20 1; correct it, or export the image into one file."
        )
    first, last, step = [*numbers, *(1, last, 1)[len(numbers) :]]
    numbered = range(first, last + (1 if step > 0 else -1), step)
    if len(numbered) > MOST:
        raise BadImage(f"{path} names more than {MOST} files for its voxels; export it again.")
    before, zeros, width, after = pattern.groups()
    fill = "0" if zeros else ">"
    return [f"{before}{number:{fill}{width or 1}}{after}" for number in numbered]


def _lines(path: Path) -> Iterator[str]:
    """The lines of a header, without blanks at either end, as far as a header may go."""
    left = LONGEST
    with path.open("rb") as stream:
        while left > 0 and (line := stream.readline(left)):
            left -= len(line)
            yield os.fsdecode(line).strip()
