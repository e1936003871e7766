"""Methods opened by name or by a model's folder, ready to register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cohortreg.config import Optimisation
from cohortreg.learning.devices import Device
from cohortreg.methods.fit import Fit, Refined
from cohortreg.methods.interface import Method
from cohortreg.methods.registry import PAIRWISE, method_class, read_settings
from cohortreg.methods.trained import Trained


def open_method(
    source: str | Path,
    settings: Mapping[str, Any],
    where: str,
    seed: int,
    threads: int,
    device: Device | None = None,
    optimisation: Optimisation | None = None,
    fit: bool = False,
    read_from: str = "configuration",
) -> Method:
    """Open a method, ready to register.

    Args:
        source: The name of a method that needs no training, or the folder of a trained or imported model.
        settings: Of the method without training, or of the fit that refines the maps.
        where: The place of these settings, such as method_settings.fit; empty where they have none.
        seed: What is random in a method follows from it.
        device: That networks run on, and fit; the processor if None.
        optimisation: Of a model's networks for each pair, see `Trained`.
        fit: Whether fit refines the method's maps; where these are affine at most, it begins coarse.
        read_from: Where the settings were read, which a sentence on a wrong one begins with.

    Raises:
        UserError: Where a setting is not the method's own, or there is no model that can be opened.
    """
    if fit:
        method = open_method(source, {}, where, seed, threads, device, optimisation)
        deforms = isinstance(source, Path) or PAIRWISE[source].deforms
        own = Fit.Settings.read(settings, where, read_from)
        return Refined(method, Fit(own, seed, threads, device), deforms)
    if isinstance(source, Path):
        return Trained(source, device or Device("cpu", "32-true"), optimisation)
    on_device = [device] if PAIRWISE[source].accelerated else []
    return method_class(source)(read_settings(source, settings, where, read_from), seed, threads, *on_device)
