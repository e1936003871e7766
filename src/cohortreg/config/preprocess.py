"""How raw images are brought to one grid, side and range of intensities."""

import json
from typing import Annotated, Literal

from annotated_types import Len
from pydantic import Field, field_validator

from cohortreg.config.values import Grid, Positive
from cohortreg.digests import digest
from cohortreg.settings import Number, Settings, wrong


class Preprocess(Settings):
    """how a raw image is turned into one for the networks"""

    grid: Grid = Field(
        description="voxels of every preprocessed image along right, anterior, superior, whatever the order in its "
        "file; two for 2D images, right and anterior, which for a picture are its width and height"
    )
    fit: Literal["resample", "pad"] = Field(
        "resample",
        description="how an image is brought to that grid: resample stretches it to fill the grid; pad keeps the "
        "voxel size and pads or crops around the centre",
    )
    mirror: Literal["left", "right", "none"] = Field(
        "none", description="images of this side are mirrored along left-right, so that all look alike"
    )
    percentiles: Annotated[list[Annotated[Number, Field(ge=0, le=100)]], Len(2, 2)] = Field(
        [1, 99], description="percentiles of the intensities that become 0 and 1; values beyond are clamped"
    )
    labels: Literal["native", "grid"] = Field(
        "native",
        description="native keeps labels at their own resolution, at which Dice is then measured; grid resamples "
        "them to the images' grid by nearest neighbour",
    )

    @property
    def digest(self) -> str:
        """SHA-256 of the section, by which a preprocessed image is known to be current."""
        return digest(json.dumps(self.plain(), sort_keys=True))

    @field_validator("percentiles")
    @classmethod
    def _rise(cls, percentiles: list[float]) -> list[float]:
        low, high = percentiles
        if low >= high:
            raise wrong(f"the first, {low}, must be below the second, {high}")
        return percentiles


class CheckedPreprocess(Preprocess):
    """What `cohortreg check` looks at: without a grid, images may have any number of axes."""

    grid: Grid | None = None  # type: ignore[assignment]  # read by the check alone
    mirror: Literal["left", "right", "none"] = "left"


class PairPreprocess(Preprocess):
    """How a model's training images were preprocessed, as far as its card says, and two images that are registered."""

    grid: Annotated[list[Positive], Len(2, 3)]
    #: Only images whose side is known are mirrored.
    mirror: Literal["left", "right", "none"] = "left"
