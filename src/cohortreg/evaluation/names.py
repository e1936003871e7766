"""What the names of methods stand for: `icon-3step` is model `icon` after the stage that brings it to 3 steps."""

import re
from collections.abc import Mapping, Sequence


def learned(method: str, models: Mapping[str, dict]) -> tuple[str, int] | None:
    """Model and stage (from 1) that a method's name stands for; None for a method that nothing was trained for."""
    match = re.fullmatch(r"(.+)-(\d+)step", method)
    if not match or match[1] not in models:
        return None
    steps = 0
    for stage, settings in enumerate(models[match[1]]["stages"], start=1):
        steps += settings["steps"]
        if steps == int(match[2]):
            return match[1], stage
    return None


def main_method(methods: Sequence[str], models: Mapping[str, dict]) -> str:
    """The method that the figures and the report are about: the last learned one, or else the last."""
    return next((method for method in reversed(methods) if learned(method, models)), methods[-1])


def similarity(method: str, models: Mapping[str, dict]) -> str:
    """The similarity that a method maximises, as Table 2 of Greer et al. 2021 names it; empty if it has none."""
    known = learned(method, models)
    if known:
        return models[known[0]]["similarity"].upper()
    return {"affine": "MI"}.get(method, "")


def description(method: str, models: Mapping[str, dict]) -> str:
    """A method's name, and the steps at each resolution in the words of Table 2 if it was learned."""
    known = learned(method, models)
    if not known:
        return method
    model, last = known
    steps: dict[int, int] = {}
    for stage in models[model]["stages"][:last]:
        steps[stage["downsample"]] = steps.get(stage["downsample"], 0) + stage["steps"]
    resolutions = {1: "full res."}
    parts = [f"{count} step {resolutions.get(factor, f'1/{factor} res.')}" for factor, count in steps.items()]
    return f"{method} ({', '.join(parts)})"
