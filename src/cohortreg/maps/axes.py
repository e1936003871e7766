"""Arrays in orientations other than RAS, for models trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cohortreg.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

CANONICAL, OPPOSITE = "RAS", "LPI"


@dataclass(frozen=True)
class Axes:
    """The directions that a model's array axes run to, such as "LIP"; those of our arrays are "RAS".

    Raises:
        UserError: The letters do not name each direction of space once.
    """

    letters: str

    def __post_init__(self) -> None:
        places = sorted(self._place(letter) for letter in self.letters)
        if places != [0, 1, 2]:
            raise UserError(
                f"'{self.letters}' is not an orientation; give one each of R or L, A or P, S or I."
            )

    @staticmethod
    def _place(letter: str) -> int:
        """The index of our axis along a letter's direction; -1 for any other letter."""
        return max(CANONICAL.find(letter), OPPOSITE.find(letter))

    @property
    def order(self) -> list[int]:
        """Which of our axes each of the model's is."""
        return [self._place(letter) for letter in self.letters]

    @property
    def flipped(self) -> list[int]:
        """The model's axes that run opposite to ours."""
        return [axis for axis, letter in enumerate(self.letters) if letter in OPPOSITE]

    def ours(self, grid: Sequence[int]) -> tuple[int, ...]:
        """The model's grid along our axes."""
        return tuple(grid[self.order.index(axis)] for axis in range(3))

    def to_model(self, images: "Tensor") -> "Tensor":
        """Reorient our arrays [*any, i, j, k] to the model's axes."""
        first = images.dim() - 3
        turned = images.permute(*range(first), *(first + axis for axis in self.order))
        return turned.flip([first + axis for axis in self.flipped])

    def boxes_to_model(self, boxes: Sequence[Sequence[int]], grid: Sequence[int]) -> list[list[int]]:
        """First voxel and the one after the last along each of our axes, as `grid` is, along the model's."""
        turned = [list(boxes[axis]) for axis in self.order]
        for axis in self.flipped:
            size = grid[self.order[axis]]
            turned[axis] = [size - turned[axis][1], size - turned[axis][0]]
        return turned

    def from_model(self, displacement: "Tensor") -> "Tensor":
        """The model's displacement fields [batch, 3, *grid] in unit coordinates, along our axes and in their order."""
        back = [self.order.index(axis) for axis in range(3)]
        turned = displacement.flip([2 + axis for axis in self.flipped]).clone()
        turned[:, self.flipped] *= -1
        return turned[:, back].permute(0, 1, *(2 + axis for axis in back))
