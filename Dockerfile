# The package and the workflow: `docker run cohortreg` is the demo, further arguments are Snakemake's. docs/cluster.md has
# the commands, also for Apptainer.
FROM python:3.11-slim

RUN apt-get update \
  && apt-get install --yes --no-install-recommends git make \
  && rm -rf /var/lib/apt/lists/*

WORKDIR /cohortreg
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt --editable .

ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]
