"""An importer's tables, with splits and pairs as every import draws them."""

import pandas as pd

from cohortreg.importers.additions import NOTHING, Before
from cohortreg.importers.found import Found
from cohortreg.importers.importing import complete
from cohortreg.importers.registry import Draw


def tables(
    found: Found,
    test_fraction: float = 1,
    pairs: int = 1,
    seed: int = 1,
    before: Before = NOTHING,
    validation_fraction: float = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables of images and pairs of what an importer found."""
    return complete(found, before, Draw(test_fraction, validation_fraction, pairs, seed))[:2]
