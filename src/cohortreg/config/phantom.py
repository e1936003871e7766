"""Images that the project generates."""

from typing import Annotated, Self

from annotated_types import Len
from pydantic import Field, model_validator

from cohortreg.config.values import Path_, PositiveNumber, Size
from cohortreg.settings import Settings, wrong


class Phantom(Settings):
    """images that the project generates"""

    sparse = ("labels", "grid", "spacing")

    labels: Path_ | None = Field(
        None,
        description="folder of the label maps that scans are generated from, each found by the file name of its "
        "image's label; $VARIABLES are expanded",
    )
    grid: Annotated[list[Size], Len(3, 3)] | None = Field(
        None, description="voxels of a generated image along right, anterior, superior"
    )
    spacing: Annotated[list[PositiveNumber], Len(3, 3)] | None = Field(
        None, description="millimetres between neighbouring voxels of a generated image"
    )

    @model_validator(mode="after")
    def _made_of_something(self) -> Self:
        if self.labels is None and (self.grid is None or self.spacing is None):
            raise wrong("needs grid and spacing, or labels")
        return self
