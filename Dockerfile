# The package and the workflow: `docker run cohortreg` is the demo, further arguments are Snakemake's. docs/cluster.md has
# the commands, also for Apptainer.
FROM python:3.11-slim

# Provenance names the commit, whoever runs the container.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/* \
  && git config --system --add safe.directory /cohortreg

WORKDIR /cohortreg
COPY . .
# On x86-64 pip takes PyTorch's build for CUDA, with CUDA's libraries; the driver is the host's: `docker run --gpus all`, `apptainer run
# --nv`. For another CUDA, or for processors alone, name the index of that build, as PyTorch's installation page does:
# `docker build --build-arg TORCH_INDEX=…`.
ARG TORCH_INDEX=
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --editable '.[all]'

ENTRYPOINT ["snakemake"]
CMD ["--cores", "all"]
