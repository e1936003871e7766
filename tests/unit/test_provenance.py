"""What results say of where they come from."""

import os

import pytest

from cohortreg.provenance import hardware


@pytest.mark.parametrize(
    ("threads", "used"), [(None, "4 cores"), (1, "1 of 4 cores"), (4, "4 cores"), (8, "4 cores")]
)
def test_hardware_says_how_many_of_the_cores_were_used(monkeypatch, threads, used):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert hardware("cpu", threads).endswith(f", {used}")
