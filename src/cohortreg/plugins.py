"""What other packages offer through entry points: methods, similarities, networks and importers, by name.

A package names each of them in the entry points of its metadata, below the group of its kind, such as
`cohortreg.methods`. Nothing of the package is imported before a configuration, or a command, has the name.
"""

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

from cohortreg.errors import UserError

Entry = TypeVar("Entry")


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
        try:
            entry: Any = point.load()
        except Exception as error:  # whatever another package sets off
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{where} cannot be imported ({reason}); update or remove the package."
            ) from error
        fits: bool = isinstance(entry, self.kind) or (
            isinstance(entry, type) and issubclass(entry, self.kind)
        )
        if not fits:
            raise UserError(f"{where} is no {self.kind.__name__}; update or remove the package.")
        return entry


def package_of(point: EntryPoint) -> str:
    """Name the package of an entry point, and its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "a package"


def resolve(path: str, within: str) -> Any:
    """Import what an entry names: "module:object" of any package, or "module.object" below one of this package."""
    return resolve_name(path if ":" in path else f"{within}.{path}")
