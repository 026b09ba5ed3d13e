"""Weight extrapolation, theta_1 + a (theta_1 - theta_0), with pieces of one tensor in memory.

ExPO: Zheng et al., "Weak-to-strong extrapolation expedites alignment" (2024). Neither model is
built: the files of the strong model are written again with other numbers in the same places.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import check_full_precision, read_config
from wmss_cli.models.weight_shapes import is_harmless, some
from wmss_cli.models.weights import INDEX, SINGLE, Stored, stored_tensors

_PIECE = 2**22
"""Largest number of elements that are computed at a time."""

_BESIDE = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py")
"""Other files of a model's folder that belong to the model."""

_HEAD = "lm_head.weight"


@dataclass(frozen=True)
class Extrapolation:
    """Facts about the weights that were written.

    Attributes
    ----------
    parameters : int
        Number of stored parameters of the model; a tied head counts once.
    dtypes : tuple of str
        Types of the weights, as safetensors names them.
    relative_distance : float
        ``|theta_1 - theta_0| / |theta_0|``, L2 over all weights.
    """

    parameters: int
    dtypes: tuple[str, ...]
    relative_distance: float


def extrapolate(
    base: Path,
    strong: Path,
    factor: float,
    out: Path,
    watch: Callable[[int, int], None] = lambda *_: None,
) -> Extrapolation:
    """Write a model beyond the strong one, on the line from the base model through it.

    Each weight is computed in fp32 and stored in the strong model's type. Configuration,
    tokenizer and generation configuration are the strong model's.

    Parameters
    ----------
    base, strong : Path
        Folders of models with the same weights: theta_0 and theta_1.
    factor : float
        The a above; at 0 the files of weights are the strong model's, bit for bit.
    out : Path
        The folder to create.
    watch : callable
        Called with the number of written tensors, and the number of all.

    Raises
    ------
    ConfigError
        If a folder has no safetensors, weights are quantised, their names or shapes differ between
        the models, or a weight is not finite.
    IntegrityError
        If a file of weights is cut or damaged.
    """
    ours, theirs = stored_tensors(strong), stored_tensors(base)
    for folder, found in ((strong, ours), (base, theirs)):
        check_full_precision(folder)
        if not found:
            raise ConfigError(f"{folder}: no safetensors files; save the model in that format")
    _compare(strong, base, ours, theirs)
    out.mkdir()
    _copy_beside(strong, out)
    difference = norm = 0.0
    done = 0
    for name in sorted({stored.file for stored in ours.values()}):
        with (strong / name).open("rb") as source, (out / name).open("wb") as target:
            for tensor in _copy_header(source, target):
                there = theirs.get(tensor)
                for new, step, start in _pieces(
                    strong / name, base / there.file if there else None, tensor, factor
                ):
                    if not torch.isfinite(new).all():
                        raise ConfigError(
                            f"{strong}: {tensor} is not finite when extrapolated by {factor:g}; "
                            "choose a smaller extrapolate.factor"
                        )
                    target.write(_bytes(new))
                    difference += step
                    norm += start
                done += 1
                watch(done, len(ours))
    return Extrapolation(
        parameters=sum(math.prod(stored.shape) for stored in ours.values()),
        dtypes=tuple(sorted({stored.dtype for stored in ours.values()})),
        relative_distance=math.sqrt(difference / norm) if norm else 0.0,
    )


def _compare(strong: Path, base: Path, ours: dict[str, Stored], theirs: dict[str, Stored]) -> None:
    """Refuse models whose weights differ in their names or shapes."""
    # Some programs also write the head if it shares the embedding.
    tied = all(read_config(folder).get("tie_word_embeddings") for folder in (strong, base))
    ignored = {name for name in ours.keys() ^ theirs.keys() if is_harmless(name)}
    if tied and _HEAD not in ours:
        ignored.add(_HEAD)
    kinds = {
        f"only in {strong}": sorted(ours.keys() - theirs.keys() - ignored),
        f"only in {base}": sorted(theirs.keys() - ours.keys() - ignored),
        "of another shape": [
            f"{name}: {list(ours[name].shape)} and {list(theirs[name].shape)}"
            for name in sorted(ours.keys() & theirs.keys())
            if ours[name].shape != theirs[name].shape
        ],
    }
    found = [f"{len(names)} {kind} ({some(names)})" for kind, names in kinds.items() if names]
    if found:
        raise ConfigError(
            f"{strong}: its weights are not those of {base}: {', '.join(found)}; "
            "name the base model that it was trained from"
        )


def _copy_beside(strong: Path, out: Path) -> None:
    """Copy configuration and tokenizer."""
    left_out = {INDEX} if (strong / SINGLE).exists() else set()
    for path in sorted(strong.iterdir()):
        if path.is_file() and path.suffix in _BESIDE and path.name not in left_out:
            shutil.copyfile(path, out / path.name)


def _copy_header(source: BinaryIO, target: BinaryIO) -> list[str]:
    """Copy the header of a safetensors file; return the tensors in the order of their data."""
    start = source.read(8)
    text = source.read(int.from_bytes(start, "little"))
    target.write(start + text)
    header: dict[str, Any] = json.loads(text)
    header.pop("__metadata__", None)
    return sorted(header, key=lambda name: tuple(header[name]["data_offsets"]))


def _pieces(
    strong: Path, base: Path | None, name: str, factor: float
) -> Iterator[tuple[Tensor, float, float]]:
    """Yield the new values of a tensor, with the squared norms of step and base, in pieces."""
    for ours, theirs in _read(strong, base, name):
        if theirs is None or not ours.is_floating_point():
            # A buffer, which is not a weight.
            yield ours, 0.0, 0.0
            continue
        wide = torch.promote_types(ours.dtype, torch.float32)
        step = ours.to(wide) - theirs.to(wide)
        # With factor 0 even the sign of a zero stays.
        new = (ours.to(wide) + factor * step).to(ours.dtype) if factor else ours
        yield new, _squared(step), _squared(theirs.to(wide))


def _read(strong: Path, base: Path | None, name: str) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the same rows of both files, a few at a time."""
    place = 0
    while True:
        # Opened again for each piece, since pages that were read stay in memory until it is closed.
        with safe_open(strong, framework="pt") as file:
            shape = file.get_slice(name).get_shape()
            if not shape:
                ours = file.get_tensor(name)
                end = place = 1
            else:
                rows = max(1, _PIECE // max(1, math.prod(shape[1:])))
                end = shape[0]
                part = slice(place, min(end, place + rows))
                ours = file.get_slice(name)[part]
                place = part.stop
        theirs = None
        if base is not None:
            with safe_open(base, framework="pt") as file:
                theirs = file.get_slice(name)[part] if shape else file.get_tensor(name)
        yield ours, theirs
        if place >= end:
            return


def _squared(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def _bytes(values: Tensor) -> bytes:
    return values.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
