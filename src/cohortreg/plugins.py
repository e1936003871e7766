"""What other packages offer through entry points: methods, similarities, networks, measures and importers, by name.

A package names each of them in the entry points of its metadata, below the group of its kind, such as
`cohortreg.methods`. Nothing of the package is imported before a configuration, or a command, has the name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any, Generic, NoReturn, TypeVar

from cohortreg.errors import UserError

Entry = TypeVar("Entry")

#: Versions of the packages of which this process has an entry, by name: numbers depend on them.
used: dict[str, str] = {}


class Entries(dict[str, Entry], Generic[Entry]):
    """The entries of a kind by name: this package's, over which it iterates, and those of others, which it looks up.

    Args:
        group: The group of entry points.
        kind: What an entry is an instance of, or a class derived from.
    """

    def __init__(self, group: str, kind: type):
        super().__init__()
        self.group = group
        self.kind = kind

    @cached_property
    def others(self) -> dict[str, EntryPoint]:
        """The entry points of other packages; a name of this package's own stays its own."""
        points = entry_points(group=self.group)
        return {point.name: point for point in points if point.name not in self.keys()}

    def names(self) -> list[str]:
        """Return every name, this package's first."""
        return [*self, *sorted(self.others)]

    def is_other(self, name: object) -> bool:
        """Whether another package offers it."""
        return isinstance(name, str) and not super().__contains__(name) and name in self.others

    def package(self, name: str) -> str:
        """Name the other package that offers it, and its version; "" of this package's own."""
        return package_of(self.others[name]) if self.is_other(name) else ""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or self.is_other(name)

    def __missing__(self, name: str) -> Entry:
        """Import another package's entry.

        Raises:
            KeyError: There is none of this name.
            UserError: It cannot be imported, or is no entry of this kind.
        """
        point = self.others[name]
        where = f"{point.value}, which {package_of(point)} offers as {name} in {self.group},"
        rivals = {package_of(rival) for rival in entry_points(group=self.group, name=name)}
        if len(rivals) > 1:
            raise UserError(f"{' and '.join(sorted(rivals))} both offer {name} in {self.group}; remove one.")
        try:
            entry: Any = point.load()
        except Exception as error:  # whatever another package sets off
            _refuse(where, error)
        fits = isinstance(entry, self.kind) or (isinstance(entry, type) and issubclass(entry, self.kind))
        if not fits:
            raise UserError(f"{where} is no {self.kind.__name__}; update or remove the package.")
        if point.dist:
            used[point.dist.name] = point.dist.version
        return entry


def _refuse(where: str, error: Exception) -> NoReturn:
    raise UserError(
        f"{where} cannot be imported ({in_line(error)}); update or remove the package."
    ) from error


@contextmanager
def said_in_a_sentence(what: str, package: str) -> Iterator[None]:
    """Have what the code of another package raises end in a sentence; this package's own is raised as it is.

    Args:
        what: That runs.
        package: See `Entries.package`.
    """
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if not package:
            raise
        raise UserError(f"{what} of {package} failed ({in_line(error)}); tell its authors.") from error


def in_line(error: Exception) -> str:
    """An error's type and message in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def package_of(point: EntryPoint) -> str:
    """Name the package of an entry point, and its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "a package"


def resolve(path: str, within: str) -> Any:
    """Import what an entry names: "module:object" of any package, or "module.object" below one of this package.

    Raises:
        UserError: What another package names cannot be imported.
    """
    if ":" not in path:
        return resolve_name(f"{within}.{path}")
    try:
        return resolve_name(path)
    except Exception as error:  # whatever another package sets off
        _refuse(f"{path} of another package", error)
