"""How training and registration run on the device."""

from typing import Literal

from pydantic import Field

from cohortreg.config.values import ACCELERATOR, Accelerator, Positive
from cohortreg.settings import Flag, Settings

Logger = Literal["none", "csv", "tensorboard"]


class Training(Settings):
    """how training and registration run on the device"""

    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = Field(
        "auto",
        description="floating-point precision, in Lightning Fabric's terms; auto is bf16-mixed on GPUs that "
        "compute in bfloat16 (compute capability 8.0), and 32-true elsewhere; on processors with AVX512-BF16 or "
        "AMX-BF16, bf16-mixed is faster",
    )
    accelerator: Accelerator = ACCELERATOR
    devices: Positive = Field(
        1, description="devices on each node that share each training batch; see docs/cluster.md"
    )
    nodes: Positive = Field(1, description="nodes that training runs on")
    accumulate: Positive = Field(
        1,
        description="parts of a batch that a device computes one after the other, if its memory is too small for "
        "the whole",
    )
    recompute_activations: Flag = Field(
        False,
        description="whether training recomputes activations, of U-Nets and of ICON's maps, instead of keeping "
        "them, if memory is too small for one pair; models of voxelmorph keep theirs",
    )
    checkpoint_every: Positive = Field(
        100, description="training steps between two checkpoints, from which a killed run continues"
    )
    validate_every: Positive = Field(
        100,
        description="training steps between two measurements on images of split validation, if there are any; one "
        "more follows the last step",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="the weights that a stage ends with: best are those with the lowest validation loss, last "
        "those of the last step, which are always used without validation images",
    )
    logger: Logger = Field(
        "none",
        description="format in which training curves are written while they happen, by Lightning Fabric's loggers, in "
        "models/{model}/stage-{n}/curves below the results; tensorboard needs the extra of that name; no other result "
        "depends on it",
    )
