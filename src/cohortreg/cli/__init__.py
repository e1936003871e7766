"""The command line: arguments, progress bars, exit codes; no computing."""

import gc
import os
import signal
import sys
from typing import Annotated, Any

import typer

from cohortreg.errors import UserError
from cohortreg.openmp import sleeping

app = typer.Typer(name="cohortreg", no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from cohortreg import __version__

        typer.echo(f"cohortreg {__version__}")
        raise typer.Exit


@app.callback()
def describe(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Register two images, or a whole cohort, by inverse consistency."""


def main() -> None:
    """Run the command line; an error that a user can fix is one sentence and exit code 1.

    A command that wrote into a folder of results leaves a record there of what it did, however it ends.
    """
    os.environ.update(sleeping())  # for this process and those that it starts
    from cohortreg.cli import commands  # noqa: F401  (registers every command)
    from cohortreg.cli.options import given_results, spelled_out
    from cohortreg.records import Command

    for stream in (sys.stdout, sys.stderr):
        # A terminal may not have every letter that a name has; what was said of the work must not end it.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    command = Command(spelled_out(sys.argv[1:]))
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with command.recorded(given_results):
            app()
    except Exception as error:
        sentence = _in_a_sentence(error, bool(given_results))
        if sentence is None:
            raise
        # Where whoever reads the output has stopped, there is nobody to tell.
        if not isinstance(error, BrokenPipeError):
            print(sentence, file=sys.stderr)
        sys.exit(1)
    finally:
        # Or Python searches all that PyTorch made for cycles once more before it ends, for half a second.
        gc.freeze()


def _in_a_sentence(error: Exception, of_cohort: bool) -> str | None:
    """What a user is told of an error that is no fault of the program; of a cohort also what becomes of its pairs."""
    if isinstance(error, UserError):
        return f"cohortreg: {error}"
    if isinstance(error, ModuleNotFoundError):
        return _lacking_extra(error)
    if isinstance(error, OSError):  # what the system refused
        where = f"{error.filename}: " if error.filename else ""
        kept = "; finished pairs are kept" if of_cohort else ""
        return f"cohortreg: {where}{error.strerror or error}; fix it and run again{kept}."
    if isinstance(error, UnicodeEncodeError):  # of a file's name
        letter = error.object[error.start : error.end].encode("unicode_escape").decode()
        return f"cohortreg: this locale has no {letter}; set LC_ALL=C.UTF-8 and run again."
    # As Python, or as ITK and PyTorch say it.
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate" in str(error)):
        return "cohortreg: not enough memory on this machine; run it where there is more."
    return None


def _lacking_extra(error: ModuleNotFoundError) -> str | None:
    """What the command needs, if what is missing belongs to an extra."""
    from cohortreg import extras

    module = (error.name or "").partition(".")[0]
    if module not in extras.MODULES:
        return None
    command: Any = typer.main.get_command(app)
    names = ["cohortreg"]
    for word in sys.argv[1:]:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        names.append(word)
    return extras.sentence(" ".join(names), module)
