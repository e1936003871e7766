"""What the work is divided into, and the cores that each job takes."""

import warnings
from typing import Annotated

from pydantic import Field

from cohortreg.config.values import Positive
from cohortreg.settings import Settings, Whole


class Shards(Settings):
    """the number of jobs that the work is divided into"""

    images: Positive = Field(2, description="shards of the images, for preprocessing")
    pairs: Positive = Field(
        1, description="shards of the pairs, for each method's registration and evaluation"
    )


_Cores = Annotated[Whole, Field(ge=1, le=1024)]


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # of `register`, which abstract classes have as a method

    class Threads(Settings):
        """CPU cores per job"""

        train: _Cores = Field(2, description="cores for training")
        register: _Cores = Field(2, description="cores for the registration of a shard")
