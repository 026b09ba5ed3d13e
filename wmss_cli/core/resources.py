"""Files that ship with wmss: the example configurations and the profiles."""

from __future__ import annotations

from pathlib import Path

import wmss_cli


def packaged(name: str) -> Path:
    """Return a folder that ships with wmss: inside the wheel, or next to the package."""
    package = Path(wmss_cli.__file__).parent
    for folder in (package / name, package.parent / name):
        if folder.is_dir():
            return folder
    raise AssertionError(f"{name} is missing from this installation of wmss")
