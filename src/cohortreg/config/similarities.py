"""The similarities, by their names in configurations."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class SimilarityEntry:
    """A similarity of the configuration.

    Attributes:
        path: Module and function below `cohortreg.losses`.
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


SIMILARITIES = {
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
    "mi": SimilarityEntry("similarities.mutual_information", "MI"),
}
if TYPE_CHECKING:
    Similarity = str
    FieldSimilarity = str
else:
    Similarity = Literal[tuple(SIMILARITIES)]
    #: Of displacement fields that are fitted, whose points beyond the grid always count.
    FieldSimilarity = Literal[tuple(name for name, entry in SIMILARITIES.items() if entry.beyond_grid)]
