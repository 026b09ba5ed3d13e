"""Paths as people write them: ``~`` is the home folder, ``$NAME`` a variable of the shell.

Also where the files are that ship with wmss: the example configurations and the profiles.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import wmss_cli
from wmss_cli.core.errors import ConfigError

_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|(\{))")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def expand(path: str) -> str:
    """Replace ``~`` and variables in a path by their values, as a shell does.

    Parameters
    ----------
    path : str
        It may begin with ``~`` or ``~USER``, and contain ``$NAME`` or ``${NAME}``.

    Raises
    ------
    ConfigError
        If the path is empty or contains a control character, or a variable is not set or empty:
        ``$SCRATCH/runs`` must not become ``/runs``.
    """
    if not path.strip():
        raise ConfigError("the path is empty; write one")
    if bad := _CONTROL.search(path):
        raise ConfigError(f"{path!r}: {bad[0]!r} cannot be in a path; remove it")
    expanded = _VARIABLE.sub(_value, path)
    if not expanded.startswith("~"):
        return expanded
    try:
        return str(Path(expanded).expanduser())
    except RuntimeError:
        user = expanded.split("/")[0]
        raise ConfigError(f"{path}: {user} has no home folder here; write the path") from None


def _value(match: re.Match[str]) -> str:
    name = match[1] or match[2]
    if match[3]:
        raise ConfigError(f"{match.string}: expected ${{NAME}}; write the path without '${{'")
    if name[0].isdigit():
        return match[0]
    value = os.environ.get(name, "")
    if not value:
        raise ConfigError(
            f"{match.string}: ${name} is not set; export {name}, or write the path itself"
        )
    return value


def packaged(name: str) -> Path:
    """Return a folder that ships with wmss: inside the wheel, or next to the package."""
    package = Path(wmss_cli.__file__).parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise AssertionError(f"{name} is missing from this installation of wmss")
