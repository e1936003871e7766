"""The start of a cohort: its tables and its configuration, from a folder of images."""

import os
import re
from pathlib import Path

import torch

from cohortreg.config import load
from cohortreg.errors import UserError
from cohortreg.files import check_writable, write_text
from cohortreg.importers.additions import IMAGES, PAIRS, Added
from cohortreg.importers.folders import Bar, Say, counted, no_bar
from cohortreg.importers.importing import import_tables
from cohortreg.importers.layouts import layout_of
from cohortreg.importers.proposal import Machine, proposed, structure_names
from cohortreg.importers.registry import Draw
from cohortreg.importers.survey import survey


def start_cohort(folder: Path, output: Path, draw: Draw, say: Say, progress_bar: Bar = no_bar) -> Added:
    """Write the tables of a folder's images and a configuration for them.

    Args:
        folder: The images, in any layout that `layout_of` recognises.
        output: The configuration; the tables are written to a folder of its name beside it.
        say: Called with what the folder is, and with a sentence for each kind of file that is not used.

    Raises:
        UserError: One of the files is there already, or the folder is none that can be read; nothing is then written.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise UserError(
            f"{output} must end in .yaml; name the configuration to write, such as config/mine.yaml."
        )
    tables = output.with_suffix("")
    for path in (output, tables / IMAGES, tables / PAIRS):
        if os.path.lexists(path):
            raise UserError(f"{path} already exists and is kept; name another --output.")
        check_writable(path)
    layout = layout_of(folder)
    say(f"{folder}: {layout.words}")
    found = layout.read(folder, say)
    seen = survey(found.images, folder, progress_bar)
    added = import_tables(lambda: found, tables, draw)
    machine = Machine(len(os.sched_getaffinity(0)), torch.cuda.is_available())
    cohort = re.sub(r"[^A-Za-z0-9._-]", "_", output.stem).lstrip("._-") or "cohort"
    names, more = structure_names(folder), layout.command(folder, tables, draw)
    pairs = len(added.pairs)
    write_text(output, proposed(cohort, tables, folder, added.images, pairs, seen, names, machine, more))
    load(output)
    if seen.unreadable:
        added.sentences.append(
            f"{counted(seen.unreadable, 'image')} cannot be read and will be left out; cohortreg run {output} check "
            "says why."
        )
    return added
