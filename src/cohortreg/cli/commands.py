"""Imports every module of commands, so that each registers its commands, and groups these for --help."""

from itertools import chain
from typing import Any

from cohortreg.cli import (  # noqa: F401
    app,
    cohort,
    comparison,
    methods,
    models,
    paper,
    provenance,
    training,
    transforms,
    workflow,
)

#: Commands in the order of use; every other one is what a rule of the workflow runs.
PANELS = {
    "For two images": ("register", "warp", "apply", "measure", "invert", "compose", "jacobian"),
    "For a cohort": ("init", "run", "check", "export", "provenance", "methods", "import", "model", "paper"),
}


_ORDER = [*chain(*PANELS.values())]
app.registered_commands.sort(
    key=lambda command: _ORDER.index(command.name) if command.name in _ORDER else len(_ORDER)
)
_every: list[Any] = [*app.registered_commands, *app.registered_groups]
for _made in _every:
    _titles = [title for title, names in PANELS.items() if _made.name in names]
    _made.rich_help_panel = _titles[0] if _titles else "Jobs of the workflow"
