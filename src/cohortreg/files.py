"""Files that appear whole or not at all."""

import errno
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from cohortreg.digests import digest
from cohortreg.errors import BadImage, UserError
from cohortreg.inputs import files_of
from cohortreg.provenance import running

# Bytes; where writing failed for no reason that was given, a file system with less than this left is full.
FULL = 2**16

#: Bytes of a file's name, on nearly every file system.
LONGEST = 255


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it becomes `path` when the block ends without an error.

    The temporary name keeps every suffix, since the image libraries choose the format by it.

    Raises:
        UserError: No space is left, or as `check_writable` does.
    """
    path = Path(path)
    check_writable(path)
    beside = _beside(path)
    try:
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            beside.replace(path)
            running().wrote(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def renewed_folder(path: Path, manifest: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to write to; once the block ends without an error, its files move into it.

    Until then, what was there before is there. A file of the last time that was not written again is deleted; one that
    the manifest does not list is somebody's own, and stays. The folder counts as written, and not each file in it.

    Args:
        manifest: A file in it that lists what was written there in this way.

    Raises:
        UserError: No space is left.
    """
    path = Path(path)
    beside = _beside(path)
    try:
        with _explained(path):
            beside.mkdir(parents=True)
            yield beside
            new = sorted(str(file.relative_to(beside)) for file in beside.rglob("*") if file.is_file())
            old = read_json(manifest)["files"] if manifest.is_file() else []
            foreign = [name for name in new if name not in old and (path / name).exists()]
            # A folder of an earlier version has no list, and is known by its page.
            if foreign and (manifest.is_file() or "index.html" not in foreign):
                raise UserError(f"{path / foreign[0]} was not written by this command; move it elsewhere.")
            # Both, while they are mixed: wherever this is interrupted, the next time knows what may be deleted.
            write_json(manifest, {"files": sorted({*new, *old})})
            for name in new:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (beside / name).replace(path / name)
            for name in set(old) - set(new):
                _delete(path, name)
            write_json(manifest, {"files": new})
            running().wrote_folder(path, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _delete(folder: Path, name: str) -> None:
    """Delete a file of a folder, and the folders above it that are empty then; nothing outside of the folder."""
    file = folder / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        return
    file.unlink(missing_ok=True)
    for parent in file.relative_to(folder).parents[:-1]:
        with suppress(OSError):  # not empty
            (folder / parent).rmdir()


def _beside(path: Path) -> Path:
    """The name that a file or folder of this process has until it is whole."""
    name = f".{socket.gethostname()}.{os.getpid()}.{path.name}"
    if len(os.fsencode(name)) > LONGEST:
        # Which file it is, the digest tells; the end of the name has its suffixes.
        name = f".{socket.gethostname()}.{os.getpid()}.{digest(os.fsencode(path.name))[:16]}{path.name[-20:]}"
    return path.with_name(name)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Replace the error by a sentence where no space was left to write `path`."""
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
    """Raise UserError where no file can be written under a name, before the work is done."""
    path = Path(path)
    folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    if not folder.is_dir():
        raise UserError(f"{path} cannot be written, because {folder} is not a folder; choose another.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written, because {folder} is not writable; choose another.")
    if path.is_dir():
        raise UserError(f"{path} is a folder, so no file can be written under that name; choose another.")
    # ITK takes the header of the compressed file and the voxels of the other one, if that is there.
    twin = path.with_name(path.name.removesuffix(".gz") if path.name.endswith(".gz") else f"{path.name}.gz")
    if path.name.endswith((".nii", ".nii.gz")) and twin.exists():
        raise UserError(
            f"{path} cannot be written beside {twin.name}, since ITK, ANTs and 3D Slicer would read the voxels of one "
            "of them in place of the other's; choose another name."
        )


def check_outputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Raise UserError where an output cannot be written, or is an input or another output by whatever name or link.

    Args:
        inputs: Files or folders; of an image in several files all of these count.
    """
    read = list(chain.from_iterable(map(_parts, filter(None, inputs))))
    written: list[Path] = []
    for path in filter(None, outputs):
        if any(_is_same(path, other) for other in read):
            raise UserError(f"{path} is an input, which is never overwritten; give the output another name.")
        if any(_is_same(path, other) for other in written):
            raise UserError(
                f"{path} is named twice, and would be overwritten; give each output its own name."
            )
        check_writable(path)
        written.append(path)


def _parts(path: Path) -> list[Path]:
    """A file and those that belong to it, as far as it can be read, which others check."""
    try:
        return [path, *files_of(path)]
    except (BadImage, OSError):
        return [path]


def _is_same(path: Path, other: Path) -> bool:
    """Whether two names lead, or would lead, to the same file."""
    try:
        return path.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return os.path.realpath(path) == os.path.realpath(other)


def _full(folder: Path, error: Exception) -> bool:
    """Whether the folder's file system, or the user's quota, is full: libraries say so by number, in words, or not."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    reported = getattr(error, "errno", None) in numbers or any(os.strerror(n) in str(error) for n in numbers)
    if reported or not folder.is_dir():
        return reported
    space = shutil.disk_usage(folder)
    return space.total > 0 and space.free < FULL  # of /proc and the like, both are 0


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


#: The key under which a sealed record has the digest of its other content.
SEAL = "record_sha256"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a record as `write_json` does, with a digest by which it is known when it is read."""
    write_json(path, {**content, SEAL: _content_digest(content)})


def _content_digest(content: Mapping[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True))


@contextmanager
def sealed(path: Path) -> Iterator[None]:
    """Write a file in the block; beside it comes its checksum, PATH.sha256, as `sha256sum --check` reads it."""
    seal = _seal_of(path)
    seal.unlink(missing_ok=True)  # first: of a file that is not whole there is none
    yield
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(seal, f"{sha}  {path.name}\n")


def check_seal(path: Path, command: str = "the command that writes it") -> None:
    """Raise UserError where a file is not what was `sealed`; one without a checksum beside it passes."""
    try:
        written = _seal_of(path).read_text("utf-8", errors="replace").split()[:1]
    except FileNotFoundError:
        return
    if written != [hashlib.sha256(path.read_bytes()).hexdigest()]:
        raise UserError(damaged(path, "its checksum does not match", command))


def _seal_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


class Record(dict[str, Any]):
    """The content of one of the project's JSON files; looking up a missing key raises UserError."""

    def __init__(self, content: dict[str, Any], path: Path, command: str):
        super().__init__(content)
        self._path, self._command = path, command

    def __missing__(self, key: str) -> NoReturn:
        raise UserError(
            f"{self._path} has no {key}, as if from another version; delete it and run {self._command} again."
        )


def read_json(path: Path, command: str = "the command that writes it") -> Record:
    """Read a JSON file that the project wrote, which holds an object; without its seal, if it has one.

    Args:
        command: What writes it, for messages.

    Raises:
        UserError: The file is missing, damaged, not as it was sealed, or lacks a key that is looked up in it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run {command} first.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(damaged(path, str(error), command)) from error
    if not isinstance(content, dict):
        raise UserError(damaged(path, "it holds no JSON object", command))
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _content_digest(content):
        raise UserError(damaged(path, "its content is not what was written", command))
    return Record(content, path, command)


def damaged(path: Path, reason: str, command: str = "the command that writes it") -> str:
    """A sentence for a file of the project's own that cannot be read."""
    return f"{path} is cut short or damaged ({' '.join(reason.split())}); delete it and run {command} again."


def read_kept(path: Path, *keys: str) -> dict[str, Any]:
    """Read a record that spares work; one that is missing, damaged or lacks one of the keys is empty."""
    try:
        record = read_json(path)
    except UserError:
        return {}
    return record if all(key in record for key in keys) else {}
