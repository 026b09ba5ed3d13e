"""The files of a model folder: whether they are complete, by their headers, without torch."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError, IntegrityError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_BINARY, _BINARY_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_LENGTH_BYTES = 8
_LFS = b"version https://git-lfs"
_BESIDE = (".json", ".jinja", ".txt", ".model", ".tiktoken")
"""What is read of a model besides its weights."""


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
    """Return the safetensors files with a model's weights; none if it has another format.

    Raises
    ------
    ConfigError
        If a file that the index lists is missing.
    IntegrityError
        If the index is damaged.
    """
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    return _listed(folder, INDEX)


def check_files(folder: Path) -> None:
    """Refuse a model whose files are incomplete, or are not what their names say.

    Raises
    ------
    ConfigError
        If a file is missing, is a pointer of git-lfs, or the weights are under no name that
        transformers looks for.
    IntegrityError
        If a file of weights is cut or damaged.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in _BESIDE and path.is_file():
            with path.open("rb") as file:
                if file.read(len(_LFS)) == _LFS:
                    raise _pointer(path)
    binary = [folder / _BINARY] if (folder / _BINARY).exists() else []
    if stored_tensors(folder):
        return
    binary = binary or _listed(folder, _BINARY_INDEX)
    if not binary:
        there = sorted(p.name for p in folder.iterdir() if p.suffix in (".safetensors", ".bin"))
        advice = f"copy {INDEX} there, too"
        if any(name.startswith("adapter_") for name in there):
            advice = "merge the PEFT adapter into its model (merge_and_unload, then save)"
        elif len(there) == 1:
            advice = f"save the model by save_pretrained, which calls it {SINGLE}"
        raise ConfigError(
            f"{folder}: no {SINGLE} and no {INDEX}, only {', '.join(there[:3])}; {advice}"
        )
    for path in binary:
        with path.open("rb") as file:
            start = file.read(len(_LFS))
        if start == _LFS:
            raise _pointer(path)
        is_zip = start.startswith(b"PK")
        # The list of a zip file's content is at its end.
        if not path.stat().st_size or (is_zip and not zipfile.is_zipfile(path)):
            raise _cut(path)


def _listed(folder: Path, name: str) -> list[Path]:
    """Return the files that an index lists; none if there is no index."""
    index = folder / name
    if not index.exists():
        return []
    if index.read_bytes().startswith(_LFS):
        raise _pointer(index)
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [listed for listed in names if not (folder / listed).exists()]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise IntegrityError(f"{index}: not an index of weight files; copy it again") from None
    if missing:
        raise ConfigError(
            f"{folder / missing[0]}: {len(missing)} of {len(names)} weight files that {name} "
            "lists are missing; copy them there"
        )
    return [folder / listed for listed in names]


def _pointer(path: Path) -> ConfigError:
    return ConfigError(
        f"{path}: a pointer of git-lfs, not the file itself; run 'git lfs pull' in its folder"
    )


def _cut(path: Path) -> IntegrityError:
    return IntegrityError(f"{path}: cut or damaged ({path.stat().st_size:,} bytes); copy it again")


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return the tensors in a model's safetensors files, by name, without reading their data.

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
            raise _pointer(path)
        length = int.from_bytes(start[:_LENGTH_BYTES], "little")
        if len(start) < _LENGTH_BYTES or _LENGTH_BYTES + length > size:
            raise _cut(path)
        file.seek(_LENGTH_BYTES)
        try:
            header: dict[str, Any] = json.loads(file.read(length))
            header.pop("__metadata__", None)
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _cut(path) from None
    if _LENGTH_BYTES + length + end != size:
        raise _cut(path)
    return header
