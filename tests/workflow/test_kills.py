"""A kill at a moment that matters: the next run's tables are an undisturbed run's, or it ends in an error.

Hundreds at random moments are `benchmarks/robustness/kills.py`.
"""

import random
import sys

import pytest
from projects import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks" / "robustness"))

from kills import Disturbance, disturb
from runs import States

KILLS = {
    "learning rate changed": Disturbance("SIGKILL", "job", 0, command="register-shard"),
}


@pytest.fixture(scope="module")
def states(tmp_path_factory) -> States:
    return States(tmp_path_factory.mktemp("kills"), "tables")


@pytest.mark.parametrize("scenario", KILLS)
def test_nothing_old_is_left_without_a_word(scenario, states):
    row = disturb(states, scenario, KILLS[scenario], random.Random(1))
    assert row["hit"], "the kill met nothing"
    assert row["outcome"] in ("equal", "error"), row
