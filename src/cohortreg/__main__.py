"""`python -m cohortreg`: the command line."""

from cohortreg.cli import main

main()
