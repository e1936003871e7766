#!/usr/bin/env bash
# Debian's Slurm, its accounting and what both need, where they can be installed; the tests say what is missing.
set -euo pipefail
packages=(slurm-wlm slurmdbd mariadb-server munge)
if dpkg --status "${packages[@]}" >/dev/null 2>&1; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Slurm is not installed here: that needs root on Debian."
  exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "${packages[@]}"
