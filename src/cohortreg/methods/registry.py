"""Which methods there are, by the names that the configuration and the tables use."""

from collections.abc import Mapping

from lightning_fabric import Fabric

from cohortreg.config import trained_methods
from cohortreg.errors import UserError
from cohortreg.layout import Layout
from cohortreg.methods.affine import Affine
from cohortreg.methods.icon import Icon, find_stage
from cohortreg.methods.identity import Identity
from cohortreg.methods.interface import Method

#: Methods that need nothing but a pair; made from the seed.
PAIRWISE = {
    "identity": lambda seed: Identity(),
    "affine": lambda seed: Affine(seed),
}


def open_method(name: str, layout: Layout, seed: int, fabric: Fabric) -> Method:
    """The method of a row, ready to register: one of `PAIRWISE`, or a trained stage such as `icon-3step`."""
    if name in PAIRWISE:
        return PAIRWISE[name](seed)
    trained = find_stage(layout, name)
    if trained is None:
        known = ", ".join(PAIRWISE)
        raise UserError(
            f"{name}: no such method; there are {known}, and a row for each trained stage of a model"
        )
    return Icon(layout, *trained, fabric)


def similarity_of(name: str, models: Mapping[str, dict]) -> str:
    """The similarity that a configured method maximises, as the tables show it; empty if it maximises none."""
    trained = trained_methods(models)
    return models[trained[name][0]]["similarity"].upper() if name in trained else PAIRWISE[name](0).similarity
