"""Trainings that were cut off, in a few small files, for machines that are given back with all that lies on them.

They go on to the same weights as if nothing had happened; those with the smallest files are kept, as many as fit.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cohortreg.files import whole, write_json

INDEX = "index.json"
#: Bytes of a file, and of all of them.
PIECE, MOST = 15_000_000, 24_000_000


def write(work: Path, folder: Path, most: int = MOST) -> list[str]:
    """Keep what of a folder of work goes on, at most so many bytes in all.

    Returns the trainings that do not fit. Wherever it is interrupted, what the index names is there and whole.
    """
    kept: list[Path] = []
    left_out, size = [], 0
    for name, files in sorted(_trainings(work).items(), key=lambda each: _size(each[1])):
        if size + _size(files) > most:
            left_out.append(name)
            continue
        size += _size(files)
        kept += files
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for path in kept:
            tar.add(path, arcname=str(path.relative_to(work)))
    data, pieces = content.getvalue(), {}
    for start in range(0, len(data) if kept else 0, PIECE):
        piece = data[start : start + PIECE]
        sha = hashlib.sha256(piece).hexdigest()
        pieces[f"{sha[:16]}.part"] = sha
        with whole(folder / f"{sha[:16]}.part") as beside:
            beside.write_bytes(piece)
    write_json(folder / INDEX, {"pieces": pieces})
    for path in folder.glob("*.part"):
        if path.name not in pieces:
            path.unlink()
    return left_out


def read(folder: Path, work: Path) -> list[str]:
    """Put trainings into a folder of work that has no more of them; returns their names, none if a file is damaged."""
    if not (folder / INDEX).is_file():
        return []
    pieces = json.loads((folder / INDEX).read_text("utf-8"))["pieces"]
    paths = [folder / name for name in pieces]
    if not pieces or not all(path.is_file() for path in paths):
        return []
    data = b"".join(path.read_bytes() for path in paths)
    shas = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    if shas != list(pieces.values()):
        return []
    there = set(_trainings(work))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member: _training(Path(member.name)) for member in tar.getmembers()}
        # Python has the filter from 3.11.4 on; before that, only what `write` wrote may be given.
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(work, [each for each, name in found.items() if name not in there], **safely)
    return sorted(set(found.values()) - there)


def _trainings(work: Path) -> dict[str, list[Path]]:
    """The files of each training: its finished stages, and the last checkpoint of the one that is not."""
    found: dict[str, list[Path]] = {}
    for path in _states(work):
        found.setdefault(_training(path.relative_to(work)), []).append(path)
    return found


def _states(work: Path) -> Iterator[Path]:
    for path in sorted((*work.glob("trained/**/*.safetensors"), *work.glob("g/**/*.safetensors"))):
        replaced = path.name.startswith("step-") and path != max(path.parent.glob("step-*.safetensors"))
        if not replaced and not path.name.startswith("."):
            yield path


def _training(path: Path) -> str:
    """The training that a file below the folder of work belongs to."""
    folder = path.parent
    return str(folder.parent if folder.name.startswith("checkpoints-") else folder)


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)
