"""Which methods there are, by the names that the configuration and the tables use."""

from collections.abc import Mapping
from pathlib import Path

from lightning_fabric import Fabric

from cohortreg.config import OPTIMISED, trained_methods
from cohortreg.errors import UserError
from cohortreg.evaluation.names import similarity_in_words
from cohortreg.layout import Layout
from cohortreg.methods.affine import Affine
from cohortreg.methods.icon import Icon, find_stage, read_card
from cohortreg.methods.identity import Identity
from cohortreg.methods.interface import Method

#: Methods that need nothing but a pair; made from the seed.
PAIRWISE = {
    "identity": lambda seed: Identity(),
    "affine": lambda seed: Affine(seed),
}


def open_method(
    name: str,
    layout: Layout,
    seed: int,
    fabric: Fabric,
    pretrained: Path | None = None,
    optimisation: dict | None = None,
) -> Method:
    """The method of a row, ready to register: one of `PAIRWISE`, or a trained stage such as `icon-3step`.

    pretrained: folder of an imported model, if the row is one. optimisation: see `Icon`.
    """
    if name in PAIRWISE:
        return PAIRWISE[name](seed)
    folder = pretrained or find_stage(layout, name.removesuffix(OPTIMISED))
    if folder is None:
        known = ", ".join(PAIRWISE)
        raise UserError(
            f"{name}: no such method; there are {known}, and a row for each trained stage of a model"
        )
    return Icon(folder, fabric, optimisation)


def similarity_of(name: str, models: Mapping[str, dict], pretrained: Mapping[str, str]) -> str:
    """The similarity that a configured method maximises, as the tables show it; empty if it maximises none."""
    trained = trained_methods(models)
    if name in trained:
        return similarity_in_words(models[trained[name][0]]["similarity"])
    if name in pretrained:
        return similarity_in_words(read_card(Path(pretrained[name]))["similarity"])
    return PAIRWISE[name](0).similarity
