"""The rows that models offer, and what each stage of theirs follows from."""

import typed

from cohortreg.config import trained_methods


def test_trained_methods_count_the_steps_of_the_stages():
    stages = [{"steps": 2}, {"steps": 1}, {"steps": 3}]
    plain = {
        "icon-2step": ("icon", 1),
        "icon-3step": ("icon", 2),
        "icon-6step": ("icon", 3),
        "lncc-1step": ("lncc", 1),
        "lncc-4step": ("lncc", 2),
    }
    models = {"icon": typed.model({"stages": stages}), "lncc": typed.model({"stages": stages[1:]})}
    assert trained_methods(models) == plain | {f"{row}-fit": stage for row, stage in plain.items()}


def test_the_networks_of_the_last_stage_alone_are_optimised_for_each_pair():
    optimisation = {"steps": 5, "learning_rate": 1e-3}
    model = typed.model({"stages": [{"steps": 2}, {"steps": 1}], "optimisation": optimisation})
    found = trained_methods({"icon": model})
    assert {row: stage for row, stage in found.items() if row.endswith("-io")} == {
        "icon-3step-io": ("icon", 2)
    }


def test_a_stage_follows_from_no_later_one_and_not_from_the_optimisation():
    optimisation = {"steps": 5, "learning_rate": 1e-3}
    model = typed.model({"stages": [{"steps": 2}, {"steps": 1}], "optimisation": optimisation})
    assert model.up_to(1).plain() == typed.model({"stages": [{"steps": 2}]}).plain()
    assert "optimisation" in model.plain()
