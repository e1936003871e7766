"""`python -m cohortreg` is the command."""

import subprocess
import sys

import cohortreg


def test_it_is_the_command():
    run = {"capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-m", "cohortreg", "--version"], **run)
    assert (done.returncode, done.stdout) == (0, f"cohortreg {cohortreg.__version__}\n")
    done = subprocess.run([sys.executable, "-m", "cohortreg", "invert", "nothing.h5", "t.h5"], **run)
    assert done.returncode == 1 and done.stderr == "cohortreg: nothing.h5: no such file; correct the path.\n"
