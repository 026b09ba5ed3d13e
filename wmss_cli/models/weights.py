"""The weight files of a model folder, from their headers alone. No torch is imported here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError, IntegrityError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_LENGTH_BYTES = 8
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class Stored:
    """One tensor of a safetensors file.

    Attributes
    ----------
    file : str
        Name of the file in the folder.
    dtype : str
        As safetensors writes it, such as ``BF16``.
    shape : tuple of int
    """

    file: str
    dtype: str
    shape: tuple[int, ...]


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that hold a model's weights; none if it has another format.

    Raises
    ------
    ConfigError
        If a file that the index lists is missing.
    IntegrityError
        If the index is damaged.
    """
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.exists():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise IntegrityError(f"{index}: not an index of safetensors files; copy it again") from None
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise ConfigError(
            f"{folder / missing[0]}: {len(missing)} of {len(names)} weight files that {INDEX} "
            "lists are missing; copy them there"
        )
    return [folder / name for name in names]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return what the safetensors files of a model hold, by name; their data are not read.

    Raises
    ------
    ConfigError
        If a file is missing, or is a pointer of git-lfs.
    IntegrityError
        If a file is cut or damaged.
    """
    found: dict[str, Stored] = {}
    for path in weight_files(folder):
        for name, entry in _header(path).items():
            found[name] = Stored(path.name, entry["dtype"], tuple(entry["shape"]))
    return found


def _header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(_LENGTH_BYTES, len(_LFS)))
        if start.startswith(_LFS):
            raise ConfigError(f"{path}: a pointer of git-lfs, not the weights; run 'git lfs pull'")
        length = int.from_bytes(start[:_LENGTH_BYTES], "little")
        cut = IntegrityError(f"{path}: cut or damaged ({size:,} bytes); copy it again")
        if len(start) < _LENGTH_BYTES or _LENGTH_BYTES + length > size:
            raise cut
        file.seek(_LENGTH_BYTES)
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise cut from None
    if _LENGTH_BYTES + length + end != size:
        raise cut
    return header
