"""The configurations of the repository, each the files that are given with --configfile."""

from pathlib import Path

from cohortreg.config import merged

CONFIG = Path(__file__).parents[1] / "config"
CONFIGURATIONS = [
    ("demo",),
    ("demo", "comparison"),
    ("hippocampus",),
    ("oai",),
    ("oai", "oai-anatomy-full"),
    ("oai-anatomy",),
]


def cohort_of(names: tuple[str, ...]) -> dict:
    """What the files say of a cohort, later ones over earlier ones."""
    return merged(*(CONFIG / f"{name}.yaml" for name in names))
