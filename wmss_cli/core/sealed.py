"""Small JSON files that carry their own checksum, so that a flipped bit is found on reading.

The hashes in a manifest vouch for all other files; nothing else vouches for the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wmss_cli.core import files

CHECKSUM = "checksum"
"""The key of the hash of everything else in a file."""


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Write values with their checksum, by :func:`wmss_cli.core.files.write_text`."""
    files.write_json(path, _sealed(values))


def _sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    # As they will be read: JSON has no tuples, and its keys are strings.
    plain = json.loads(json.dumps(values, ensure_ascii=False))
    return {**plain, CHECKSUM: files.canonical_hash(plain)}


def unseal(content: bytes) -> dict[str, Any] | None:
    """Return the values of a file that :func:`write_sealed` wrote; None if it is damaged.

    A file without a checksum is accepted as it is: earlier versions wrote none.
    """
    try:
        values = json.loads(content)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    said = values.pop(CHECKSUM, None)
    if said is not None and said != files.canonical_hash(values):
        return None
    return values


def append_sealed_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line of JSON with its checksum."""
    files.append_json_line(path, _sealed(row))


def write_sealed_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of sealed lines as a whole."""
    files.write_json_lines(path, [_sealed(row) for row in rows])


def read_sealed_lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of all complete lines; a damaged line is left out, as is one cut short."""
    with files.naming(path):
        lines = path.read_bytes().split(b"\n")
    return [row for line in lines[:-1] if (row := unseal(line)) is not None]
