"""The door: whatever a configuration says, it can be run, or one sentence says why not."""

import torch
from drawn import configurations
from hypothesis import HealthCheck, given, settings

from cohortreg.config import Configuration, trained_methods
from cohortreg.errors import UserError
from cohortreg.methods import registry


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(configurations())
def test_a_configuration_passes_or_ends_in_one_sentence(drawn):
    try:
        config = Configuration.read(drawn)
        registry.check(config)
    except UserError as error:
        assert "\n" not in str(error) and str(error).startswith("configuration: ")
        return
    assert Configuration.read(config.plain()) == config
    for name, stage in trained_methods(config.models).values():
        model = config.models[name].up_to(stage)
        if registry.lacking(model.method) is None and model.method != "voxelmorph":
            with torch.device("meta"):
                registry.recipe(model.method).build(model, config.preprocess.grid)
