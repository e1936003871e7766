"""Imports every module of commands, so that each registers its commands on the application."""

from cohortreg.cli import cohort, comparison, models, paper, provenance, training, transforms  # noqa: F401
