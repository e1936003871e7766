"""The command line: arguments, progress bars, exit codes; no computing."""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

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
    except UserError as error:
        print(f"cohortreg: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        _end_without_extra(error, sys.argv[1:])
    except BrokenPipeError:  # whoever reads the output has stopped; there is nobody to tell
        sys.exit(1)
    except OSError as error:
        print(f"cohortreg: {_machine_fault(error, bool(given_results))}", file=sys.stderr)
        sys.exit(1)
    except UnicodeEncodeError as error:  # of a file's name
        letter = error.object[error.start : error.end].encode("unicode_escape").decode()
        print(f"cohortreg: this locale has no {letter}; set LC_ALL=C.UTF-8 and run again.", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        _end_without_memory()
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        _end_without_memory()  # as ITK and PyTorch say it
    finally:
        # Or Python searches all that PyTorch made for cycles once more before it ends, for half a second.
        gc.freeze()


def _end_without_extra(error: ModuleNotFoundError, arguments: Sequence[str]) -> NoReturn:
    """End in a sentence if what is missing belongs to an extra; raise the error if not."""
    from cohortreg import extras

    module = (error.name or "").partition(".")[0]
    if module not in extras.MODULES:
        raise error
    command: Any = typer.main.get_command(app)
    names = ["cohortreg"]
    for word in arguments:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
        names.append(word)
    print(extras.sentence(" ".join(names), module), file=sys.stderr)
    sys.exit(1)


def _end_without_memory() -> NoReturn:
    print("cohortreg: not enough memory on this machine; run it where there is more.", file=sys.stderr)
    sys.exit(1)


def _machine_fault(error: OSError, of_cohort: bool) -> str:
    """One sentence on what the system refused: which file, and why; of a cohort also what becomes of its pairs."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}; fix it and run again{'; finished pairs are kept' if of_cohort else ''}."
