"""Imports every module of commands, so that each registers its commands, and groups these for --help."""

from itertools import chain

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


def _panel(name: str) -> str:
    return next((title for title, names in PANELS.items() if name in names), "Jobs of the workflow")


def _place(name: str) -> int:
    names = [*chain(*PANELS.values())]
    return names.index(name) if name in names else len(names)


app.registered_commands.sort(key=lambda command: _place(str(command.name)))
for _command in app.registered_commands:
    _command.rich_help_panel = _panel(str(_command.name))
for _group in app.registered_groups:
    _group.rich_help_panel = _panel(str(_group.name))
