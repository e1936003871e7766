"""Which methods there are, by the names that the configuration and the tables use."""

from lightning_fabric import Fabric

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
