"""The displacement fields of a cohort's results, each verified before use."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from cohortreg.cohort.tables import read_table, with_sets
from cohortreg.errors import UserError
from cohortreg.files import read_kept
from cohortreg.layout import Layout
from cohortreg.maps.sealed import seal_at

if TYPE_CHECKING:
    from cohortreg.maps.transforms import Transform

IDS = ["moving", "fixed"]
DIRECTIONS = ("forward", "inverse")


def seals(layout: Layout, method: str, moving: str, fixed: str) -> dict[str, str]:
    """The seals that the pair's fields have on disk, by direction; "" of one without; not of one that is not there."""
    paths = {name: getattr(layout, name)(method, moving, fixed) for name in DIRECTIONS}
    return {name: seal_at(path) for name, path in paths.items() if path.is_file()}


def registration(layout: Layout, method: str, moving: str, fixed: str) -> dict[str, Any]:
    """Read the record of a pair's registration; empty where it is missing or unreadable."""
    record = read_kept(layout.registration_record(method, moving, fixed))
    return record if isinstance(record.get("seals", {}), dict) else {}


def read_registered(
    layout: Layout, method: str, moving: str, fixed: str, direction: str = "forward"
) -> "Transform":
    """Read a registered pair's displacement field, "forward" or "inverse".

    Raises:
        UserError: It is missing or damaged, or is another one than the pair's record says was written.
    """
    # And with it PyTorch, which what gathers a cohort does not need.
    from cohortreg.maps.transforms import read_transform

    path = getattr(layout, direction)(method, moving, fixed)
    written = registration(layout, method, moving, fixed).get("seals", {}).get(direction)
    try:
        transform = read_transform(path)
        if written and seal_at(path) != written:
            raise UserError(f"{path} is not the field that registration wrote: its checksum differs")
    except UserError as error:
        record = layout.registration_record(method, moving, fixed)
        raise UserError(
            f"{error}; delete {record if record.is_file() else path} and register the pair again, in a workflow by "
            "snakemake with --forcerun register register_networks."
        ) from error
    return transform


def cohort_pairs(layout: Layout) -> pd.DataFrame:
    """The cohort's pairs with repeats: moving, fixed, set."""
    return with_sets(read_table(layout.pairs, IDS, "`cohortreg cohort`"))[[*IDS, "set"]]


def in_cohort(layout: Layout, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of pairs that the cohort has. A shard keeps a pair that was removed, so that nothing follows from it."""
    return pairs.merge(cohort_pairs(layout)[IDS].drop_duplicates(), on=IDS)
