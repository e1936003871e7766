"""What this package adds to cohortreg; pyproject.toml names each of these."""

from typing import Literal

from pydantic import Field

from cohortreg.config import Network, Positive, SimilarityEntry
from cohortreg.methods.registry import Entry

CENTRE = Entry("cohortreg_example.centre:Centre", release="centre-1")

MAE = SimilarityEntry("cohortreg_example.absolute:mean_absolute_difference", "MAE")


class DilatedNetwork(Network):
    """convolutions with gaps that double"""

    path = "cohortreg_example.dilated:Dilated"
    architecture: Literal["dilated"]
    channels: Positive = Field(description="channels of each layer of a dilated network")
    layers: Positive = Field(description="number of layers of a dilated network, without the last")
