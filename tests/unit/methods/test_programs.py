"""Programs that a method runs."""

import pytest

from cohortreg.errors import UserError
from cohortreg.methods.programs import run


def test_what_a_program_said_before_its_time_was_over_is_printed(tmp_path, capsys):
    with pytest.raises(UserError, match=r"sh did not end within 0\.5 s; raise time_limit"):
        run(["sh", "-c", "echo begun; exec sleep 60"], tmp_path, 0.5)
    assert capsys.readouterr().out == "begun\n"


def test_a_program_that_fails_has_its_last_line_as_the_reason(tmp_path):
    with pytest.raises(UserError, match="sh ended with exit code 3: no overlap"):
        run(["sh", "-c", "echo no overlap; echo ---; exit 3"], tmp_path, 10)
