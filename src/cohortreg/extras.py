"""What `pip install cohortreg` leaves out, which is all that two images do not need, and the extra that brings it."""

import json
from importlib.metadata import Distribution
from importlib.util import find_spec

from cohortreg.errors import UserError

#: Module -> its package's name in a sentence, and the extras of pyproject.toml that bring it; the first is named.
MODULES = {
    "snakemake": ("Snakemake", ("workflow",)),
    "pandas": ("pandas", ("workflow", "train", "report")),
    "lightning_fabric": ("Lightning Fabric", ("train",)),
    "jinja2": ("Jinja", ("report",)),
    "matplotlib": ("Matplotlib", ("report",)),
    "PIL": ("Pillow", ("report",)),
    "seaborn": ("seaborn", ("report",)),
    "snakemake_executor_plugin_slurm": ("Snakemake's Slurm executor", ("slurm",)),
    "tensorboard": ("TensorBoard", ("tensorboard",)),
    "vtkmodules": ("VTK", ("meshes",)),
}


def sentence(what: str, module: str, extra: str = "") -> str:
    """Say that something needs a module of `MODULES`, and what installs it."""
    title, extras = MODULES[module]
    return f'{what} needs {title}: pip install "cohortreg[{extra or extras[0]}]"'


def require(what: str, *extras: str) -> None:
    """Refuse to begin where a package of these extras is missing.

    Raises:
        UserError: The first that is missing.
    """
    for extra in extras:
        for module, (_, known) in MODULES.items():
            if extra in known and not find_spec(module):
                raise UserError(sentence(what, module, extra))


def requirement(package: Distribution) -> str:
    """This package as a line of a requirements file that installs it once more, with all extras.

    From where it was installed: a clone, a commit, a file (PEP 610); what came by its name, by its version.
    """
    origin = json.loads(package.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return f"--editable {origin['url']}[all]"
    source = origin.get("url")
    if repository := origin.get("vcs_info"):
        source = f"{repository['vcs']}+{source}@{repository['commit_id']}"
    return f"{package.name}[all] @ {source}" if source else f"{package.name}[all]=={package.version}"
