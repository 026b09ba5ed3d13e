"""Which options are paths, and what they are relative to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wmss_cli.core.paths import expand

Key = tuple[str, ...]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_HUB_DATA = re.compile(r"[\w-][\w.-]*(/[\w.-]+){1,3}")


def expanded(key: Key, value: Any) -> Any:
    """Expand the paths in the value of an option, as :func:`wmss_cli.core.paths.expand` does."""
    return _converted(key, value, expand)


def anchored(key: Key, value: Any, folder: Path) -> Any:
    """Make the paths of a YAML file absolute, so that they work from any directory.

    Parameters
    ----------
    key : tuple of str
        Key of the option.
    value : Any
        Its value; what is not a path stays as it is.
    folder : Path
        Where the file is.

    Raises
    ------
    ConfigError
        If a path is empty, or names a variable that is not set.
    """

    def absolute(path: str) -> str:
        return str((folder / expand(path)).resolve())

    def absolute_unless_of_the_hub(path: str) -> str:
        # A hub id looks like a path: it is one if nothing here has its name.
        if (folder / path).exists():
            return absolute(path)
        if key[0] in ("data", "eval_files"):
            # Nor is it one if only the beginning of the path exists here.
            is_id = looks_like_hub_data(path) and not (folder / path.split("/")[0]).exists()
        else:
            is_id = _HUB_ID.fullmatch(path) is not None
        return path if is_id else absolute(path)

    takes_hub_id = key[0] in ("model", "models", "data", "eval_files")
    return _converted(key, value, absolute_unless_of_the_hub if takes_hub_id else absolute)


def looks_like_hub_data(path: str) -> bool:
    """Say whether a path may be ``OWNER/NAME`` of the hub, with a configuration and a split."""
    return _HUB_DATA.fullmatch(path) is not None and not re.search(r"\.[a-z]\w*$", path, re.I)


def _converted(key: Key, value: Any, convert: Callable[[str], str]) -> Any:
    """Apply a conversion to each path in a value; a wrong type is reported later."""

    def one(path: Any) -> Any:
        return convert(path) if isinstance(path, str) else path

    match key:
        case ("run_dir",) | ("task_data",) | ("model",):
            return one(value)
        case ("launch", "profile"):
            return one(value) if _names_a_file(value) else value
        case ("data",) if isinstance(value, list):
            return [one(path) for path in value]
        case ("tasks",) | ("decontaminate",) if isinstance(value, list):
            return [one(name) if _names_a_file(name) else name for name in value]
        case ("models",) | ("eval_files",) if isinstance(value, dict):
            return {name: one(path) for name, path in value.items()}
        # --set models.a=…: a name may have dots.
        case ("models" | "eval_files", *_):
            return one(value)
    return value


def _names_a_file(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    return "/" in name or name[:1] in ("~", "$") or name.split(":")[0].endswith((".yaml", ".yml"))
