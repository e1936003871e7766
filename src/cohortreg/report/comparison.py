"""What the figures and pages of a cohort are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import pandas as pd

from cohortreg.config import Configuration, Model
from cohortreg.errors import UserError
from cohortreg.evaluation.measures import Measure, measures_with
from cohortreg.evaluation.ranking import shown_pairs
from cohortreg.evaluation.sets import main_set
from cohortreg.images.image import Image
from cohortreg.maps.transforms import Transform
from cohortreg.report.names import main_method


class Source(Protocol):
    """Where images, transforms and trainings come from."""

    def image(self, image_id: str) -> Image:
        """Read a preprocessed image, or raise UserError where it is missing or damaged."""

    def labels(self, *image_ids: str) -> tuple[Image, ...] | None:
        """The labels of some images; None where one has none."""

    def is_mirrored(self, image_id: str) -> bool:
        """Whether preprocessing mirrored an image, so that its patient's left is where the right would be."""

    def has_transform(self, method: str, moving: str, fixed: str) -> bool:
        """Whether a registered pair's transform is there, which may be deleted once it is evaluated."""

    def transform(self, method: str, moving: str, fixed: str) -> Transform:
        """Read the transform that warps the moving image, or raise UserError where it is not the registered one."""

    def histories(self, models: Mapping[str, Model]) -> dict[str, list[pd.DataFrame]]:
        """Training history of every stage of every model, as far as there is one."""

    def card(self, model: str, stage: int) -> dict[str, Any] | None:
        """The card of a trained stage; None where it was not trained."""

    def summary(self) -> dict[str, Any]:
        """The cohort's name, counts and warnings."""

    def in_short(self, error: UserError) -> str:
        """What an error says, with paths as they are below the results' folder, for pages go to others."""


@dataclass(frozen=True)
class Comparison:
    """A cohort's registrations by all its methods.

    Attributes:
        source: Has images, transforms and training histories.
        config: Of the configuration methods, models, structures, measures; for pages also report.
        pairs: `tables/pairs.csv`, a row per method and pair of every set.
        methods: `tables/methods.csv`, a row per method.
        sets: `tables/sets.csv`, a row per method and set.
    """

    source: Source
    config: Configuration
    pairs: pd.DataFrame
    methods: pd.DataFrame
    sets: pd.DataFrame

    @property
    def structures(self) -> Mapping[str, list[int]]:
        """Name -> label values."""
        return self.config.structures

    @cached_property
    def measures(self) -> Sequence[Measure]:
        """What every pair has, in the order of the tables."""
        return measures_with(self.config.measures)

    @cached_property
    def main_pairs(self) -> pd.DataFrame:
        """The rows of the main set, which figures are about."""
        return main_set(self.pairs)

    @cached_property
    def main_method(self) -> str:
        """The method that the page's sentences and the figures of pairs are about."""
        return main_method(self.config.methods, self.config.models)

    @cached_property
    def shown(self) -> dict[str, pd.Series]:
        """The best, median and worst pair of the main method; empty where all failed."""
        return shown_pairs(self.main_pairs, self.main_method)
