"""What this package adds to cohortreg; pyproject.toml names each of these."""

from typing import Literal

from pydantic import Field

from cohortreg.config import LearningEntry, LearningSettings, Network, Positive, SimilarityEntry
from cohortreg.importers.registry import Importer, Option
from cohortreg.methods.registry import Entry

CENTRE = Entry("cohortreg_example.centre:Centre", release="centre-1")

MAE = SimilarityEntry("cohortreg_example.absolute:mean_absolute_difference", "MAE")


class DilatedNetwork(Network):
    """convolutions with gaps that double"""

    path = "cohortreg_example.dilated:Dilated"
    architecture: Literal["dilated"]
    channels: Positive = Field(description="channels of each layer of a dilated network")
    layers: Positive = Field(description="number of layers of a dilated network, without the last")


class SmoothSettings(LearningSettings):
    """Settings of the learning method smooth."""

    architecture = ("channels", "layers")

    channels: Positive = Field(8, description="channels of each layer")
    layers: Positive = Field(3, description="number of layers, including the last")


SMOOTH = LearningEntry("cohortreg_example.smooth:Smooth", SmoothSettings, release="smooth-1")

FLAT = Importer(
    "cohortreg_example.flat:import_flat",
    source="A folder of images, SUBJECT.nii.gz, and of their labels.",
    about="Import a folder with one image of each subject; paths are relative to it.",
    options={"ending": Option("What a label's name has behind the subject's.", str, "_seg")},
)
