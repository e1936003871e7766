# Snakemake runs this in its working directory, the repository, once it has made the environment.
set -e
python -m pip install --editable '.[all]'
