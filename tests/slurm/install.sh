#!/usr/bin/env bash
# Debian's Slurm, its accounting and what both need; as root.
set -euo pipefail
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends slurm-wlm slurmdbd mariadb-server munge
