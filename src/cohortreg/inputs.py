"""Input files: whether they are readable, and which files an image consists of."""

import errno
import os
import stat
from pathlib import Path

import numpy as np

from cohortreg.detached import referred
from cohortreg.errors import BadImage, UserError

MISSING = (errno.ENOENT, errno.ENOTDIR)
#: What the system says of a file itself; everything else that it refuses is a fault of the machine.
OF_THE_FILE = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO)
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The plain files in a folder, and links to such, by name; hidden ones do not count."""
    with os.scandir(folder) as listing:
        kept = [entry for entry in listing if not entry.name.startswith(".") and _is_plain(entry)]
    return sorted(kept, key=lambda entry: entry.name)


def _is_plain(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def files_of(path: Path) -> list[Path]:
    """The files that an image consists of: of a folder its `entries`, else itself and those that it refers to.

    The latter may lie anywhere and may be missing.

    Raises:
        BadImage: As `detached.referred` and `check_file` do.
    """
    if stat.S_ISDIR(check_file(path).st_mode):
        return [Path(entry.path) for entry in entries(path)]
    return list(dict.fromkeys([path, *referred(path)]))


def check_whole(path: Path) -> list[Path]:
    """The `files_of` an image.

    Raises:
        BadImage: One of them is missing, or no file that can be read.
    """
    files = files_of(path)
    for file in files:
        check_file(file, header=path)
    return files


def check_file(path: Path, header: Path | None = None) -> os.stat_result:
    """Refuse a path that leads to no regular file or folder that may be read; nothing else is ever opened.

    What the machine refuses for another reason stays an OSError.

    Args:
        header: What refers to the path, which must then be a file.

    Returns:
        Its size, times and kind.

    Raises:
        BadImage: It is anything else.
    """
    path = Path(path)
    try:
        facts = path.stat()
        kind = stat.S_IFMT(facts.st_mode)
        if kind == stat.S_IFREG or (kind == stat.S_IFDIR and header is None):
            os.close(os.open(path, os.O_RDONLY))
        else:
            raise BadImage(f"{path} is {KINDS.get(kind, 'something else')}, not a file; name a file.")
    except ValueError as error:  # a NUL, or letters that the system has no bytes for
        raise BadImage(f"{str(path)!r} is not a valid file name; correct the path.") from error
    except OSError as error:
        if error.errno in MISSING and header not in (None, path):
            raise BadImage(
                f"{header} refers to {path}, which does not exist; copy or export both again."
            ) from error
        if error.errno in MISSING:
            raise BadImage(f"{path}: no such file; correct the path.") from error
        if error.errno in OF_THE_FILE:
            raise BadImage(
                f"{path} cannot be opened: {os.strerror(error.errno)}; correct the path or its permissions."
            ) from error
        raise
    return facts


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ~ as the home folder, as shells have it; that of an unknown user stays as it is."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (the other one raises of an unknown user)


def truth(name: str, value: object) -> bool:
    """An argument that is true or false, also of NumPy.

    Raises:
        UserError: It is anything else, such as a text.
    """
    if not isinstance(value, bool | np.bool_):
        raise UserError(f"{name} is {value!r}; give True or False.")
    return bool(value)


def require_root(root: Path) -> None:
    """Refuse a folder of raw images that is not there, which is one error and not one for each image."""
    if not root.is_dir():
        raise UserError(
            f"{root} does not exist; correct `root` in the configuration, or set $COHORTREG_DATA."
        )
