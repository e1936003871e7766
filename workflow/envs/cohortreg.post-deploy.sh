# Snakemake runs this once it has made the environment; the workflow says where the package that it runs with came from.
set -e
printf '%s\n' "$COHORTREG_REQUIREMENT" | python -m pip install --requirement /dev/stdin
