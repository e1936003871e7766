#!/usr/bin/env bash
# Debian's Chromium and its driver, where they can be installed; the tests say what is missing.
set -euo pipefail
packages=(chromium chromium-driver)
if dpkg --status "${packages[@]}" >/dev/null 2>&1; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "Chromium is not installed here: that needs root on Debian."
  exit
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends "${packages[@]}"
