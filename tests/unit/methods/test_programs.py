"""Programs that a method runs."""

import pytest

from cohortreg.errors import UserError
from cohortreg.methods.programs import machine_fault, run


def test_what_a_program_said_before_its_time_was_over_is_printed(tmp_path, capsys):
    with pytest.raises(UserError, match=r"sh did not finish within 0\.5 s; raise time_limit"):
        run(["sh", "-c", "echo begun; exec sleep 60"], tmp_path, 0.5)
    assert capsys.readouterr().out == "begun\n"


def test_a_program_that_fails_has_its_last_line_as_the_reason(tmp_path):
    with pytest.raises(UserError, match="sh ended with exit code 3: no overlap"):
        run(["sh", "-c", "echo no overlap; echo ---; exit 3"], tmp_path, 10)


@pytest.mark.parametrize(
    "script",
    [
        "echo 'cannot write affine.nii: No space left on device'; exit 1",
        "echo 'terminate called: std::bad_alloc'; exit 134",
        "kill -KILL $$",
        "kill -TERM $$",
    ],
)
def test_what_the_machine_refuses_a_program_is_no_fault_of_its_pair(tmp_path, script):
    with pytest.raises(OSError, match="sh") as raised:
        run(["sh", "-c", script], tmp_path, 10)
    assert machine_fault(raised.value)


def test_a_program_that_crashes_is_a_fault_of_its_pair(tmp_path):
    with pytest.raises(UserError, match="sh ended with exit code -11") as raised:
        run(["sh", "-c", "kill -SEGV $$"], tmp_path, 10)
    assert not machine_fault(raised.value)
