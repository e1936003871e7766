"""The settings of methods: the base of all, and those of the learning methods."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Len
from pydantic import Field, model_validator

from cohortreg.config.values import Channels, NonNegative, Positive, PositiveNumber
from cohortreg.settings import Flag, Settings, Whole, wrong


class MethodSettings(Settings):
    """Settings of a method, each with a default; only those that were given are written."""

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        cls.sparse = tuple(cls.model_fields)

    def whole(self) -> dict[str, Any]:
        """Return every setting, also those that were not given: what results follow from."""
        return dict(self)


class LearningSettings(MethodSettings):
    """Settings of a learning method, of a model's `settings`."""

    #: What of them weights are of.
    architecture: ClassVar[tuple[str, ...]]
    #: How many stages a model is trained in at most.
    most_stages: ClassVar[int] = 1

    @property
    def bound_to_grid(self) -> bool:
        """Whether weights are those of images of one grid."""
        return False

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Say what does not fit a grid of images: the setting and why."""


_Numbers = Annotated[list[PositiveNumber], Len(1)]


class VelocitySettings(MethodSettings):
    """What vSVF-opt and AVSM share: the kernel K, the energy, the flow and the similarity."""

    deviations: _Numbers = Field(
        [0.05, 0.10, 0.15, 0.20, 0.25],
        description="standard deviations of the Gaussians that make up K, as fractions of the image's size",
    )
    weights: _Numbers = Field([1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15], description="their weights")
    momentum_weight: NonNegative = Field(
        10, description="weight of the energy, the mean over voxels of the product of momentum and velocity"
    )
    flow_steps: Positive = Field(10, description="steps of the Runge-Kutta method along the velocity")
    windows: _Numbers = Field(
        [1 / 16, 1 / 8, 1 / 4],
        description="windows of the multi-kernel LNCC, as fractions of the image's size",
    )
    window_weights: _Numbers = Field([0.1, 0.3, 0.6], description="their weights")

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        for values, weights in (("deviations", "weights"), ("windows", "window_weights")):
            weight_count, value_count = len(getattr(self, weights)), len(getattr(self, values))
            if weight_count != value_count:
                raise wrong(
                    f"has {weight_count} entries, but {values} has {value_count}; give one weight for each",
                    weights,
                )
        return self


class AffineNetworkSettings(LearningSettings):
    """The affine network and its loss, which VoxelMorph's affine pre-registration has too."""

    affine_channels: Channels = Field(
        [16, 32, 64, 128], description="channels of the affine network, each at half the previous resolution"
    )
    affine_departure: NonNegative = Field(
        10,
        description="initial weight of the affine map's departure from the identity; it falls to 0.7 % of this",
    )
    affine_symmetry: NonNegative = Field(
        10, description="weight of the inverse-consistency error of the affine maps"
    )

    @property
    def bound_to_grid(self) -> bool:
        """Whether its weights are those of images of one grid, as the affine network's are."""
        return True


class VoxelMorphSettings(AffineNetworkSettings):
    """Settings of VoxelMorph."""

    architecture = ("affine", "affine_channels", "features", "integration_steps")

    affine: Flag = Field(False, description="whether a first stage learns an affine pre-registration")
    features: Annotated[list[Positive], Len(2)] = Field(
        [16, 16, 16, 16],
        description="channels of each level of the U-Net, the package's nb_features; each level halves the grid",
    )
    integration_steps: Annotated[Whole, Field(ge=0)] = Field(
        5, description="squarings in integrating the velocity; 0 uses it as the displacement"
    )

    @property
    def bound_to_grid(self) -> bool:
        """Whether it has the affine network."""
        return self.affine

    def misfit(self, grid: Sequence[int]) -> tuple[str, str] | None:
        """Say that the levels do not divide the grid, if they do not."""
        halvings = len(self.features)
        if not any(size % 2**halvings for size in grid):
            return None
        return (
            "features",
            f"voxelmorph halves the grid {list(grid)} {halvings} times, which leaves a remainder; give features fewer "
            "entries or change preprocess.grid",
        )


class AvsmSettings(AffineNetworkSettings, VelocitySettings):
    """Settings of AVSM."""

    architecture = ("affine_channels", "down", "up", "deviations", "weights", "flow_steps")

    down: Channels = Field(
        [2, 16, 32, 64, 256, 512],
        description="channels on the way down of the momentum's U-Net, from the two images",
    )
    up: Channels = Field(
        [32, 64, 128, 256],
        description="its channels on the way up, finest first; two fewer than down, for half the resolution",
    )
    symmetry: NonNegative = Field(
        500, description="weight of the inverse-consistency error of the deformable maps"
    )

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.down[0] != 2:
            raise wrong(
                f"begins with {self.down[0]}, but must with 2, the moving and the fixed image", "down"
            )
        if len(self.up) != len(self.down) - 2:
            raise wrong(
                f"has {len(self.up)} entries and down {len(self.down)}, but up must have two fewer", "up"
            )
        return self
