"""Methods in words: what was trained for each, in the terms of the paper's Table 2."""

from collections import Counter
from collections.abc import Mapping, Sequence

from cohortreg.config import FITTED, OPTIMISED, Model, trained_methods

#: What is done for each pair to what a method learnt, by how the row's name ends.
FOR_EACH_PAIR = {OPTIMISED: "; optimised for each pair", FITTED: "; refined by fit"}


def main_method(methods: Sequence[str], models: Mapping[str, Model]) -> str:
    """The method that the figures and the report are about: the last trained one, or else fit, or else the last."""
    trained = trained_methods(models)
    otherwise = "fit" if "fit" in methods else methods[-1]
    return next((method for method in reversed(methods) if method in trained), otherwise)


def description(method: str, models: Mapping[str, Model]) -> str:
    """A method's name and, if it was trained, its steps."""
    steps = steps_in_words(method, models)
    fitted = next((words for end, words in FOR_EACH_PAIR.items() if method.endswith(end)), "")
    return f"{method} ({steps}{fitted})" if steps else method


def steps_in_words(method: str, models: Mapping[str, Model]) -> str:
    """The steps of a trained method at each resolution, in the words of Table 2; empty for the others."""
    trained = trained_methods(models)
    if method not in trained:
        return ""
    model, last = trained[method]
    if not models[model].is_icon:
        return ""
    steps = Counter[int]()
    for stage in models[model].stages[:last]:
        steps[stage.downsample] += stage.steps
    return ", ".join(f"{count} step {resolution(factor)}" for factor, count in steps.items())


def resolution(downsample: int) -> str:
    """The resolution of a stage in the words of Table 2."""
    return "full res." if downsample == 1 else f"1/{downsample} res."
