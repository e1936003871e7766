"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cohortreg.errors import UserError

# Bytes; where writing failed for no reason that was given, a file system with less than this left is full.
FULL = 2**16

#: Bytes of a file's name, on nearly every file system.
LONGEST = 255
BEFORE = ".before"


#: What this process has done so far, for `provenance`: files that it wrote, and those that it read with their SHA-256.
written: list[Path] = []
read: dict[Path, str] = {}


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends without an error.

    The temporary name keeps every suffix, since the image libraries choose the format by it. Raises UserError where
    no space is left, or as `check_writable` does.
    """
    path = Path(path)
    check_writable(path)
    beside = _beside(path)
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            beside.replace(path)
            written.append(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to write to; it becomes `path` when the block ends without an error.

    What was at `path` before is there until then, and nothing of it afterwards. The folder counts as written, and not
    each file in it. Raises UserError where no space is left.
    """
    path = Path(path)
    beside = _beside(path)
    before = beside.with_name(f"{beside.name}{BEFORE}")
    try:
        with _explained(path):
            beside.mkdir(parents=True)
            yield beside
            if path.exists():
                path.replace(before)
            try:
                beside.replace(path)
            except OSError:
                if before.exists():
                    before.replace(path)
                raise
            written[:] = [*(file for file in written if not file.is_relative_to(beside)), path]
    finally:
        for folder in (beside, before):
            shutil.rmtree(folder, ignore_errors=True)


def _beside(path: Path) -> Path:
    """The name that a file or folder of this process has until it is whole."""
    name = f".{socket.gethostname()}.{os.getpid()}.{path.name}"
    if len(os.fsencode(name)) > LONGEST - len(BEFORE):
        # Which file it is, the digest tells; the end of the name has its suffixes.
        name = f".{socket.gethostname()}.{os.getpid()}.{digest(os.fsencode(path.name))[:16]}{path.name[-20:]}"
    return path.with_name(name)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """A sentence instead of the error where no space was left to write `path`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Asked before the part that was written is deleted, which makes room.
        if _full(path.parent, error):
            reason = "no space is left to write it; make room and run again, what was finished is kept"
            raise UserError(f"{path}: {reason}") from error
        raise


def check_writable(path: Path) -> None:
    """Raise UserError where no file can be written under a name: before the work is done that it is to hold."""
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written, because {folder} is no folder; choose another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written, because {folder} may not be written to; choose another.")
    if path.is_dir():
        raise UserError(
            f"{path} is a folder, so that no file can be written under that name; choose another."
        )


def _full(folder: Path, error: Exception) -> bool:
    """Whether the folder's file system, or the user's quota, is full: libraries say so by number, in words, or not."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    said = getattr(error, "errno", None) in numbers or any(os.strerror(n) in str(error) for n in numbers)
    return said or (folder.is_dir() and shutil.disk_usage(folder).free < FULL)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


class Record(dict):
    """What a JSON file of the project's own holds; a key that it lacks ends in a sentence."""

    def __init__(self, content: dict, lacking: str):
        super().__init__(content)
        self._lacking = lacking

    def __missing__(self, key: str):
        raise UserError(self._lacking.format(key=key))


def read_json(path: Path, command: str = "the command that writes it") -> Record:
    """Read a JSON file that the project wrote, which holds an object.

    command: what writes it, for messages. Raises UserError where the file is missing, damaged, or lacks a key that is
    looked up in it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run {command} first.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(damaged(path, str(error), command)) from error
    if not isinstance(content, dict):
        raise UserError(damaged(path, "it holds no JSON object", command))
    named = str(path).replace("{", "{{").replace("}", "}}")
    return Record(
        content, f"{named} has no {{key}}, as if of another version; delete it and run {command} again."
    )


def damaged(path: Path, reason: str, command: str = "the command that writes it") -> str:
    """A sentence for a file of the project's own that cannot be read."""
    return f"{path} is cut short or damaged ({' '.join(reason.split())}); delete it and run {command} again."


def read_kept(path: Path, *keys: str) -> dict:
    """Read a record that spares work; one that is missing, damaged or lacks one of the keys is empty."""
    try:
        record = read_json(path)
    except UserError:
        return {}
    return record if all(key in record for key in keys) else {}


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, hexadecimal; parts are length-prefixed, so that ("ab", "c") is not ("a", "bc")."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()


def entries(folder: Path) -> list[os.DirEntry]:
    """The files in a folder, by name; hidden ones do not count."""
    with os.scandir(folder) as found:
        there = [entry for entry in found if not entry.name.startswith(".") and entry.is_file()]
    return sorted(there, key=lambda entry: entry.name)


def files_of(path: Path) -> list[Path]:
    """The files that an image consists of: its own, or the `entries` of its folder."""
    return [Path(entry.path) for entry in entries(path)] if path.is_dir() else [path]


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, or of the names and contents of a folder's files, hexadecimal.

    It counts as read by this process.
    """
    shas = []
    for file in files_of(Path(path)):
        with file.open("rb") as stream:
            shas += [file.name, hashlib.file_digest(stream, "sha256").hexdigest()]
    read[Path(path)] = digest(*shas) if Path(path).is_dir() else shas[1]
    return read[Path(path)]
