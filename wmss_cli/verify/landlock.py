"""Landlock: a process gives up all files but those that it names. Rules of the kernel, no root.

https://docs.kernel.org/userspace-api/landlock.html. The package ``landlock`` has only
pre-releases and knows nothing of signals (version 6); three system calls need no library.
"""

from __future__ import annotations

import ctypes
import os
import struct

from wmss_cli.verify.confine import check, libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_RULE_PATH_BENEATH = 1

# Version 1 to 3: bits 0 to 14. Files: execute, write, read, truncate; the others are of folders.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_ALL = (1 << 15) - 1
_IOCTL_DEV = 1 << 15  # version 5
_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_TCP = 0b11  # version 4: bind and connect
_SCOPES = 0b11  # version 6: abstract sockets and signals

_LEAST_VERSION = 3


def landlock_version() -> int:
    """Return which version of Landlock the kernel has, 0 where it has none."""
    found: int = libc.syscall(
        _CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_GET_VERSION)
    )
    return max(found, 0)


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Leave this process and its children some files, and no TCP nor signals to others.

    The caller has promised to gain no privileges. Names and sizes of other files, and
    whether they exist, remain visible: Landlock does not cover them.

    Parameters
    ----------
    readable, writable : list of str
        Files, and folders with all that is in them. What does not exist is left out.

    Raises
    ------
    OSError
        The kernel has no Landlock, or a version below 3, which lets files be emptied.
    """
    version = landlock_version()
    if version < _LEAST_VERSION:
        raise OSError(f"Landlock has version {version} here, {_LEAST_VERSION} is needed")
    handled = _ALL | (_IOCTL_DEV if version >= 5 else 0)
    rules = struct.pack(
        "=QQQ", handled, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = check(
        libc.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(size), ctypes.c_uint32(0)),
        "landlock_create_ruleset",
    )
    for paths, access in ((readable, _READ), (writable, _ALL)):
        for path in paths:
            _allow(ruleset, path, access)
    check(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):  # noqa: PTH112 - pathlib would double the time of a start
        access &= _FILE
    rule = struct.pack("=Qi", access, descriptor)
    added = libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, ctypes.c_uint32(0))
    check(added, f"landlock_add_rule {path}")
    os.close(descriptor)
