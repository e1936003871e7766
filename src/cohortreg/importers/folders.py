"""What importers share about folders: listing their files, and reporting those that are not used."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from cohortreg.cohort.tables import LONGEST_ID
from cohortreg.errors import UserError

Item = TypeVar("Item")

#: How the names of images end, NIfTI and others.
IMAGES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr", ".mgh", ".mgz", ".hdr", ".img")
#: Characters that no table can hold, or that nobody sees in it; also bytes of a name that are not UTF-8.
ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")
#: Files that a sentence names, and letters of each.
NAMED, SHOWN = 3, 100

#: Called with a sentence that the user is to read, of an importer one for each kind of file that is not used.
Say = Callable[[str], None]
#: Shows progress over so many items; what it yields goes one item further.
Bar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


def silent(sentence: str) -> None:
    """Say nothing."""


@contextmanager
def no_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show no progress."""
    yield lambda: None


def each(items: Sequence[Item], what: str, progress_bar: Bar) -> Iterator[Item]:
    """Yield the items, and show progress over them."""
    with progress_bar(what, len(items)) as advance:
        for item in items:
            yield item
            advance()


def walked(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder, also behind links, with the names of its files; hidden ones do not count."""
    seen = set()
    for path, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(path))
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in visible if os.path.realpath(f"{path}/{name}") not in seen]
        yield Path(path), sorted(name for name in names if not name.startswith("."))


def images_below(folder: Path) -> list[str]:
    """Return the paths, relative to the folder, of all files in it that are images by name, without hidden ones."""
    return sorted(
        (path / name).relative_to(folder).as_posix()
        for path, names in walked(folder)
        for name in names
        if name.lower().endswith(IMAGES)
    )


def check_folder(folder: Path) -> None:
    """Raise UserError where a folder does not exist or is not a folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds the images.")


def relative_to(folder: Path, path: Path) -> str:
    """Write a path as tables have it: relative to the folder, absolute outside of it."""
    path, folder = path.absolute(), folder.absolute()
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def fits_a_table(path: str) -> bool:
    """Whether a path can be written into a table and read again."""
    quoted = re.fullmatch('".+"', path)  # as a spreadsheet writes a cell, which tables are refused for
    return bool(path.strip()) and not ODD.search(path) and not quoted


def exists(path: Path | str) -> bool:
    """Whether a path, which may be any text, exists."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or one with a character that no file can have
        return False


def identifier(name: str) -> str:
    """Make an image_id of a file's name: blanks and separators become underscores."""
    return re.sub(r"[\s/\\]", "_", name)


def is_identifier(text: str) -> bool:
    """Whether a table of images takes a text for an image_id."""
    is_name = bool(re.fullmatch(r"[^\s/\\.][^\s/\\]*", text)) and fits_a_table(text)
    return is_name and len(text.encode()) <= LONGEST_ID


def can_be_listed(image_id: str, *paths: str) -> bool:
    """Whether a table of images takes an image of this name, with these paths."""
    return is_identifier(image_id) and all(map(fits_a_table, paths))


def repeated(names: Iterable[str]) -> str | None:
    """Find the first name that is another's too, but for case or how accents are written: files of both may be one."""
    seen = set()
    for name in names:
        alike = unicodedata.normalize("NFC", name).casefold()
        if alike in seen:
            return name
        seen.add(alike)
    return None


def shown(text: str) -> str:
    """Return a name as a table or sentence can hold it: characters that cannot be written are escaped."""
    return ODD.sub(lambda odd: odd[0].encode("unicode_escape", "surrogatepass").decode(), text)


def few(names: Sequence[str]) -> str:
    """Name the first of several, of long names the end."""
    first = [name if len(name) <= SHOWN else f"...{name[-SHOWN:]}" for name in map(shown, names[:NAMED])]
    return ", ".join(first) + (", ..." if len(names) > NAMED else "")


def counted(number: int, what: str) -> str:
    """Write a number and what it counts, in the singular or plural."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def left_out(names: Sequence[str], what: str, why: str) -> list[str]:
    """Return one sentence about files that an import does not use; empty if there are none."""
    return [f"Left out: {counted(len(names), what)} ({few(names)}); {why}."] if names else []
