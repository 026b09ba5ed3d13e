#!/usr/bin/env bash
# Runs the Slurm tests on the Slurm of a newer Debian, in a tree of its own, as root on Debian:
#
#   tests/slurm/newer.sh trixie                    # all tests that use a cluster
#   tests/slurm/newer.sh forky COMMAND ...         # another command, in the repository
#
# The tree is made once, in $WMSS_TREES (/var/tmp/wmss-trees), from the mirror that apt uses here.
# It brings Slurm, munge and MariaDB. Python and its packages are those of .venv. Mounts and
# processes are the command's own, and gone when it ends; remove a tree with rm -r.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
suite=${1:?which Debian: tests/slurm/newer.sh SUITE, for example trixie}
shift
[ $# -gt 0 ] || set -- .venv/bin/python -m pytest -n 0 -m slurm tests/slurm
tree=${WMSS_TREES:-/var/tmp/wmss-trees}/$suite
python=$repository/.venv/bin/python
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin WMSS_REQUIRE_SLURM=1

fail() {
  echo "tests/slurm/newer.sh: $*" >&2
  exit 3
}

# Changes into a tree for one command: in_tree TREE FOLDERS COMMAND ..., with one folder a line.
in_tree() {
  # When this script ends, whatever ends it, so does the tree.
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
    tree=$1 folders=$2
    shift 2
    mount -t proc proc "$tree/proc"
    mount --rbind /dev "$tree/dev"
    mount --rbind /sys "$tree/sys"
    while read -r folder; do
      [ -n "$folder" ] || continue
      mkdir -p "$tree$folder"
      mount --bind "$folder" "$tree$folder"
    done <<<"$folders"
    exec chroot "$tree" "$@"' bash "$@"
}

make_tree() {
  local mirror client new=$tree.partial script=/usr/share/debootstrap/scripts/$suite
  command -v debootstrap >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
    sed -n 1p)
  [ -n "$mirror" ] || fail "apt knows no Debian mirror here: run apt-get update"
  client=$(ldconfig -p | awk '$1 == "libmariadb.so.3" {print $NF}')
  [ -n "$client" ] || fail "libmariadb.so.3 does not exist: run tests/install.sh"
  # A debootstrap that is older than the suite does not know it by name.
  [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
  rm -rf "$new"
  mkdir -p "$new"
  debootstrap --variant=minbase "$suite" "$new" "$mirror" "$script"
  # No daemon starts by itself.
  printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
  chmod +x "$new/usr/sbin/policy-rc.d"
  # apt in the tree reaches the mirror as apt here does.
  apt-config dump Acquire >"$new/etc/apt/apt.conf.d/99host"
  cp /etc/hosts "$new/etc/hosts"
  # python3 for the libraries that the Python of this machine is linked with.
  DEBIAN_FRONTEND=noninteractive in_tree "$new" "" sh -ec "
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends \
      slurmctld slurmd slurmdbd slurm-client munge mariadb-server procps python3
    apt-get clean"
  mkdir "$new/opt/mariadb"
  cp -L "${client%%$'\n'*}" "$new/opt/mariadb/"
  mv "$new" "$tree"
}

[ "$(id -u)" -eq 0 ] || fail "run it as root: it makes a Debian tree and changes into it"
[ -x "$python" ] || fail "$python does not exist: run make test once"
[ -d "$tree" ] || make_tree

# The repository, the interpreter, what it imports from, and the real data, where they are.
folders=$(cd "$repository" && "$python" - . "${WMSS_SHARED:-../shared}" <<'PYTHON'
import sys
from pathlib import Path

if Path(sys.base_prefix) == Path("/usr"):
    sys.exit("tests/slurm/newer.sh: .venv is of /usr/bin/python3, and the tree has another one")
named = [*sys.argv[1:], sys.base_prefix, sys.prefix, *sys.path]
folders = {Path(name).resolve() for name in named if Path(name).is_dir()}
print(*sorted(f for f in folders if not folders.intersection(f.parents)), sep="\n")
PYTHON
)
# slurmdbd ends ("Number of columns in result") with the libmariadb 11.8 of newer trees.
in_tree "$tree" "$folders" env --chdir="$repository" LD_LIBRARY_PATH=/opt/mariadb "$@"
