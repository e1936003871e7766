"""`cohortreg run`: the workflow that comes with the package, in whatever folder the command runs in."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cohortreg.cli import app
from cohortreg.errors import UserError

_PACKAGE = Path(__file__).parents[1]
_IN_WHEEL = _PACKAGE / "shipped"
#: Folder of `workflow` and `config`: within the package as a wheel has it, of an editable installation the clone.
ROOT = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parents[1]

#: Options that say how many jobs run at a time, or where; without one of them, all cores of this machine are used.
PLACES = ("--cores", "-c", "--jobs", "-j", "--profile", "--executor", "-e")


@app.command(
    "run",
    # What follows the configuration is Snakemake's.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def run_command(
    config: Annotated[
        str,
        typer.Argument(help="A configuration file, or the name of one in config/, such as demo."),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[OVERLAYS] [OPTIONS OF SNAKEMAKE]",
            help="More configurations, later ones over earlier; then, for instance, -n for a dry run, --cores 4, "
            "--profile slurm, or a rule such as check.",
        ),
    ] = None,
) -> None:
    """Run the workflow on a cohort: whatever of its results is missing or out of date, and the report in the end.

    Results are written to results/ in the folder that the command runs in. A configuration or a profile that comes with
    the package is first copied there, to be changed.
    """
    from snakemake.cli import get_profile_dir

    from cohortreg.config import merged

    words = [config, *(options or [])]
    count = next((number for number, word in enumerate(words) if not _is_configuration(word)), len(words))
    if count == 0:
        _refuse(config)
    paths, options = [_configuration(word) for word in words[:count]], words[count:]
    merged(*paths)  # or Snakemake ends in a traceback where one cannot be read
    if any(word.startswith("--configfile") for word in options):
        raise UserError(
            "name every configuration first, as in: cohortreg run mine.yaml overlay.yaml --cores 4"
        )
    for option, name in pairwise(options):
        profile = ROOT / "workflow" / "profiles" / name / "config.yaml"
        if option == "--profile" and profile.is_file() and not get_profile_dir(name):
            _copy(profile, Path(name, profile.name))
    if not any(word.startswith(PLACES) for word in options):
        options = ["--cores", "all", *options]
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    sys.stdout.flush()
    os.execv(sys.executable, [*command, "--configfile", *map(str, paths), *options])


def _shipped(name: str) -> Path:
    """Where a configuration that comes with the package would be, relative to `ROOT` and to the user's folder."""
    return Path("config", f"{name}.yaml")


def _is_configuration(word: str) -> bool:
    if word.startswith("-"):
        return False
    return word.endswith((".yaml", ".yml", ".json")) or any(
        (folder / _shipped(word)).is_file() for folder in (Path(), ROOT)
    )


def _configuration(word: str) -> Path:
    """The file that a word names; one that comes with the package is copied into this folder."""
    if word.endswith((".yaml", ".yml", ".json")):
        if not Path(word).is_file():
            _refuse(word)
        return Path(word)
    if not _shipped(word).is_file():
        _copy_configuration(_shipped(word))
    return _shipped(word)


def _refuse(word: str) -> NoReturn:
    if word.startswith("-"):
        raise UserError(
            f"name the configuration before Snakemake's options, as in: cohortreg run demo {word}"
        )
    names = sorted(path.stem for path in (ROOT / "config").glob("*.yaml") if path.stem != "config")
    raise UserError(
        f"{word}: no such configuration file; correct the path, or name one that comes with the package: "
        f"{', '.join(names)}."
    )


def _copy_configuration(path: Path) -> None:
    """Copy a configuration from `ROOT` into this folder, and the files there that it names; what is here is kept."""
    import yaml

    named = _texts(yaml.safe_load((ROOT / path).read_text("utf-8")))
    files = [Path(text) for text in named if (ROOT / text).is_file()]
    for file in [*files, path]:  # the configuration last: once it is there, nothing is copied again
        if not file.exists():
            _copy(ROOT / file, file)


def _copy(source: Path, path: Path) -> None:
    from cohortreg.files import whole

    with whole(path) as beside:
        shutil.copyfile(source, beside)
    typer.echo(f"{path}: copied from the package; yours to change")


def _texts(value: object) -> Iterator[str]:
    """Every text in the values of a configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)
