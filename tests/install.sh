#!/usr/bin/env bash
# Installs what tests need beside Python where that can be done: Slurm with munge and MariaDB for
# tests/slurm, and Chromium to open pages; into .kernels the GPU kernels of other libraries, which
# tests run in Triton's interpreter. Quiet when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin"

if ! cmp -s tests/kernels.txt .kernels/installed.txt; then
  rm -rf .kernels
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    --only-binary :all: --target .kernels -r tests/kernels.txt; then
    cp tests/kernels.txt .kernels/installed.txt
  else
    echo "some tests are left out: pip could not install tests/kernels.txt"
  fi
fi

missing=()
for program in munged:munge mariadbd:mariadb-server slurmdbd:slurmdbd slurmctld:slurm-wlm chromium:chromium; do
  command -v "${program%%:*}" >/dev/null || missing+=("${program##*:}")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "some tests are left out: run as root on Debian or Ubuntu to have ${missing[*]} installed"
  exit 0
fi

# The tests start their own daemons: the packages are told to start none.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || true
if ! apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; then
  echo "some tests are left out: apt-get could not install ${missing[*]}"
fi
