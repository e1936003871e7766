"""What several sections share: types of values, names that a user gives, places of data."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Len
from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag

from cohortreg.settings import Number, Text, Whole, wrong

#: What $COHORTREG_DATA is unless it is set.
DATA = "../shared/data"
Path_ = Annotated[Text, Field(min_length=1)]
Positive = Annotated[Whole, Field(ge=1)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Size = Annotated[Whole, Field(ge=4)]
Grid = Annotated[list[Size], Len(2, 3)]
Channels = Annotated[list[Positive], Len(1)]
Rating = Literal["good", "doubtful", "bad"]
Seed = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
SEED = Field(1, description="the single number from which every random choice is derived")
Accelerator = Literal["auto", "cpu", "cuda", "gpu", "mps"]
ACCELERATOR: Any = Field(
    "auto", description="device, in Lightning Fabric's terms; auto takes a GPU if there is one"
)


def _unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise wrong(f"{values} has non-unique elements")
    return values


Unique = AfterValidator(_unique), Field(json_schema_extra={"uniqueItems": True})
Ratings = Annotated[
    Annotated[Rating, Tag("one")] | Annotated[list[Rating], Len(1), *Unique, Tag("list")],
    Discriminator(lambda given: "list" if isinstance(given, list) else "one"),
]


def named(pattern: str, description: str) -> tuple[Any, ...]:
    """What holds for a name of the user's. The pattern's end is that of the name, and not a line's."""
    constraints = StringConstraints(pattern=f"^{pattern}$(?!\\n)", max_length=200)
    return constraints, Field(description=description)


#: Of a folder of results.
Name = Annotated[Text, *named("[A-Za-z0-9][A-Za-z0-9._-]*", "")]


def one_of(names: Iterable[str]) -> str:
    """Write names as a choice: a, b or c."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


def ratings_left_out(exclude_rated: str | Sequence[str] | None) -> list[str]:
    """The ratings whose pairs are left out, which the configuration names alone or as a list."""
    return [exclude_rated] if isinstance(exclude_rated, str) else list(exclude_rated or [])


def expand_root(root: str) -> Path:
    """The folder that a table's paths start from, with $VARIABLES replaced.

    $COHORTREG_DATA, the one place for data outside the repository, is ../shared/data unless it is set.
    """
    if not os.environ.get("COHORTREG_DATA"):
        root = root.replace("${COHORTREG_DATA}", DATA).replace("$COHORTREG_DATA", DATA)
    return Path(os.path.expandvars(root)).expanduser()
