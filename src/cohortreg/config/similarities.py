"""The similarities, by their names in configurations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import WrapValidator

from cohortreg.plugins import Entries
from cohortreg.settings import wrong


@dataclass(frozen=True)
class SimilarityEntry:
    """A similarity of the configuration.

    Attributes:
        path: Module and function below `cohortreg.losses`; of another package, "module:function".
        name: What tables call it.
        note: What the description of `similarity` says of it.
        windowed: Whether the function is given a window and returns the similarity, or is the similarity itself.
        beyond_grid: Whether points count that a map takes beyond the moving image's grid.
    """

    path: str
    name: str
    note: str = ""
    windowed: bool = False
    beyond_grid: bool = True


#: With those of other packages, see `plugins`.
SIMILARITIES: Entries[SimilarityEntry] = Entries("cohortreg.similarities", SimilarityEntry)
SIMILARITIES |= {
    "mse": SimilarityEntry("similarities.mean_squared_error", "MSE", "paper"),
    "mse_interpolated": SimilarityEntry(
        "similarities.mean_squared_error",
        "MSE, interpolated points",
        "without points mapped beyond the grid, where mse sees the border's value",
        beyond_grid=False,
    ),
    "ncc": SimilarityEntry("similarities.normalised_cross_correlation", "NCC"),
    "lncc": SimilarityEntry("similarities.LocalCrossCorrelation", "LNCC", windowed=True),
    "squared_lncc": SimilarityEntry(
        "similarities.squared_local_cross_correlation", "squared LNCC", windowed=True
    ),
    "lncc_mind": SimilarityEntry(
        "mind.correlation_and_self_similarity", "squared LNCC + MIND", windowed=True
    ),
    "mi": SimilarityEntry("similarities.mutual_information", "MI"),
}


def _or_of_others(name: Any, validate: Callable[[Any], Any]) -> Any:
    return name if SIMILARITIES.is_other(name) else validate(name)


def _or_of_others_for_fields(name: Any, validate: Callable[[Any], Any]) -> Any:
    if SIMILARITIES.is_other(name) and not SIMILARITIES[name].beyond_grid:
        raise wrong(f"{name!r} leaves out points beyond the grid, which always count here; choose another")
    return _or_of_others(name, validate)


if TYPE_CHECKING:
    Similarity = str
    FieldSimilarity = str
else:
    Similarity = Annotated[Literal[tuple(SIMILARITIES)], WrapValidator(_or_of_others)]
    #: Of displacement fields that are fitted, whose points beyond the grid always count.
    FieldSimilarity = Annotated[
        Literal[tuple(name for name, entry in SIMILARITIES.items() if entry.beyond_grid)],
        WrapValidator(_or_of_others_for_fields),
    ]
