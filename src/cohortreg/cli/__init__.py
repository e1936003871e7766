"""The command line: arguments, progress bars, exit codes; no computing."""

import sys

import typer

from cohortreg.errors import UserError

app = typer.Typer(
    name="cohortreg",
    help="Register whole image cohorts by inverse consistency.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; an error that a user can mend is one sentence and exit code 1."""
    from cohortreg.cli import commands  # noqa: F401  (registers every command)

    try:
        app()
    except UserError as error:
        print(f"cohortreg: {error}", file=sys.stderr)
        sys.exit(1)
