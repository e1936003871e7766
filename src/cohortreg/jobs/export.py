"""A cohort's transforms between its raw images, in files for other programs."""

from collections.abc import Sequence
from pathlib import Path

from cohortreg.cohort.tables import read_table
from cohortreg.errors import UserError
from cohortreg.files import LONGEST
from cohortreg.jobs.registered import DIRECTIONS, read_registered
from cohortreg.jobs.sidecars import read_sidecar
from cohortreg.layout import Layout
from cohortreg.maps.exchange import Pair, write, write_learn2reg
from cohortreg.maps.raw import Source, between_raw
from cohortreg.maps.transforms import field_of


def asked_pairs(layout: Layout, moving: str = "", fixed: str = "") -> list[tuple[str, str]]:
    """The cohort's distinct pairs, moving and fixed, or those of one moving or fixed image.

    Raises UserError where the cohort has none.
    """
    if not layout.pairs.is_file():
        raise UserError(f"{layout.pairs} does not exist; give a cohort's folder of results.")
    pairs = read_table(layout.pairs, ["moving", "fixed"], "`cohortreg cohort`")[["moving", "fixed"]]
    chosen = (pairs["moving"].eq(moving) | (not moving)) & (pairs["fixed"].eq(fixed) | (not fixed))
    found = list(pairs[chosen].drop_duplicates().itertuples(index=False, name=None))
    if not found:
        raise UserError(f"{layout.pairs} has no pair of moving image '{moving}' and fixed image '{fixed}'.")
    return found


def refuse_shared_names(pairs: Sequence[tuple[str, str]], kind: str) -> None:
    """Raise UserError where two transforms would share a file name, or a name would be too long.

    Those of a_to_b to c and of a to b_to_c would share one.
    """
    names: dict[str, tuple[str, str]] = {}
    for ids in dict.fromkeys(both for moving, fixed in pairs for both in ((moving, fixed), (fixed, moving))):
        name = _name(*ids, kind)
        size = len(name.encode())
        if size > LONGEST:
            raise UserError(
                f"The transform of {ids[0]} to {ids[1]} would be called {name}, which has {size} bytes, and file "
                f"names can have at most {LONGEST}; give the images shorter names."
            )
        other = names.setdefault(name, ids)
        if other != ids:
            first, second = (f"{moving} to {fixed}" for moving, fixed in (other, ids))
            raise UserError(
                f"The transforms of {first} and of {second} would both be called {_name(*ids, kind)}; write them to "
                "folders of their own with --moving and --fixed."
            )


def _name(moving: str, fixed: str, kind: str) -> str:
    """The file name of a transform from the fixed to the moving image."""
    if kind.startswith("learn2reg"):
        return f"disp_{fixed}_{moving}.{'npz' if kind.endswith('npz') else 'nii.gz'}"
    return f"{moving}_to_{fixed}.{kind}"


def export_pair(layout: Layout, method: str, moving: str, fixed: str, folder: Path, kind: str) -> int:
    """Write the transforms of a pair below a folder and return how many there are, one or two.

    kind: "nii.gz", "h5" or "tfm", see `exchange.write`; "learn2reg" or "learn2reg.npz", see `exchange.write_learn2reg`.

    0 where the pair was not registered, or its transforms were deleted.
    """
    if not layout.forward(method, moving, fixed).is_file():
        return 0
    sources = {image: Source.of(read_sidecar(layout, image)) for image in (moving, fixed)}
    # Of an image with itself both have one name.
    asked = DIRECTIONS if moving != fixed else DIRECTIONS[:1]
    present = [name for name in asked if getattr(layout, name)(method, moving, fixed).is_file()]
    for direction in present:
        onto_from, onto = (moving, fixed) if direction == "forward" else (fixed, moving)
        field = read_registered(layout, method, moving, fixed, direction)
        transform = between_raw(field, sources[onto_from], sources[onto])
        pair = Pair(sources[onto_from].grid, sources[onto].grid)
        file = folder / _name(onto_from, onto, kind)
        if kind.startswith("learn2reg"):
            write_learn2reg(file, field_of(transform, pair.fixed), pair.moving)
        else:
            write(file, transform, pair)
    return len(present)
