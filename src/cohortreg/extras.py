"""What `pip install cohortreg` leaves out, which is all that two images do not need, and the extra that brings it."""

from importlib.util import find_spec

from cohortreg.errors import UserError

#: Module -> its package's name in a sentence, and the extras of pyproject.toml that bring it; the first is named.
MODULES = {
    "snakemake": ("Snakemake", ("workflow",)),
    "pandas": ("pandas", ("workflow", "train", "report")),
    "lightning_fabric": ("Lightning Fabric", ("train",)),
    "monai": ("MONAI", ("workflow", "train")),
    "jinja2": ("Jinja", ("report",)),
    "matplotlib": ("Matplotlib", ("report",)),
    "PIL": ("Pillow", ("report",)),
    "seaborn": ("seaborn", ("report",)),
    "snakemake_executor_plugin_slurm": ("Snakemake's Slurm executor", ("slurm",)),
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
