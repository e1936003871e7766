"""SHA-256 of text and of files."""

import hashlib
from pathlib import Path

from cohortreg.inputs import check_whole


def digest(*parts: str | bytes) -> str:
    """SHA-256 of the parts, hexadecimal; parts are length-prefixed, so that ("ab", "c") is not ("a", "bc")."""
    sha = hashlib.sha256()
    for part in parts:
        # Names of files need not be UTF-8.
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "little") + data)
    return sha.hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; of an image of several files, of the names and contents of all.

    Raises:
        BadImage: As `check_whole` does.
    """
    return digests(path)[Path(path)]


def digests(path: Path) -> dict[Path, str]:
    """The `digest_file` of an image, and of each of its files unless it is a folder.

    Raises:
        BadImage: As `check_whole` does.
    """
    path, shas = Path(path), {}
    for file in check_whole(path):
        with file.open("rb") as stream:
            shas[file] = hashlib.file_digest(stream, "sha256").hexdigest()
    together = digest(*(part for file, sha in shas.items() for part in (file.name, sha)))
    if path.is_dir():
        return {path: together}
    return shas if len(shas) == 1 else shas | {path: together}
