"""The tables that figures and pages of a cohort are made from, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from cohortreg.config import Configuration
from cohortreg.errors import UserError
from cohortreg.evaluation.csv_files import read_table
from cohortreg.evaluation.measures import MEASURES
from cohortreg.evaluation.ranking import shown_pairs
from cohortreg.evaluation.sets import main_set
from cohortreg.layout import Layout
from cohortreg.report.names import main_method


@dataclass(frozen=True)
class Comparison:
    """A cohort's registrations by all its methods.

    Attributes:
        layout: Where images, transforms and training histories lie.
        config: Of the configuration methods, models, structures; for pages also report.
        pairs: `tables/pairs.csv`, a row per method and pair of every set.
        methods: `tables/methods.csv`, a row per method.
        sets: `tables/sets.csv`, a row per method and set.
    """

    layout: Layout
    config: Configuration
    pairs: pd.DataFrame
    methods: pd.DataFrame
    sets: pd.DataFrame

    @property
    def structures(self) -> Mapping[str, list[int]]:
        """Name -> label values."""
        return self.config.structures

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


def read_comparison(layout: Layout, config: Configuration) -> Comparison:
    """Read the tables of a cohort. Raises UserError where one is missing, damaged or of an earlier version."""
    columns = {
        layout.pairs_table: [measure.column for measure in MEASURES],
        layout.methods_table: [measure.mean for measure in MEASURES],
        layout.sets_table: [measure.mean for measure in MEASURES if measure.by_set],
    }
    for path in columns:
        if not path.is_file():
            raise UserError(f"{path} is missing; run `cohortreg tables` again.")
    tables = [read_table(path, needed, "`cohortreg tables`") for path, needed in columns.items()]
    return Comparison(layout, config, *tables)
