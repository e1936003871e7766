"""The pages of the pairs: pairs/{moving}_to_{fixed}.html and .js below the report's folder."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment

from cohortreg.layout import Layout


def write_pair_pages(
    folder: Path, layout: Layout, config: Mapping, environment: Environment
) -> list[tuple[str, str]]:
    """Write a page for each pair that gets one.

    folder: of the report, which is there already and not yet under its final name. config: the configuration.
    environment: has the report's templates and filters; pages extend `base.html.j2`.

    Returns moving and fixed of each page written, in the order in which pages lead from one to the next.
    """
    return []
