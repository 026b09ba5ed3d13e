"""The last hidden states of a frozen weak model, computed once and read in every epoch.

They are in bf16, for the positions that predict a completion token, in one file for each rank that
computed some. All ranks read all files; the layout is written last, when all are complete.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.core import files
from wmss_cli.core.errors import StageError
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.sealed import unseal, write_sealed
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import Precision, device, load_for_inference
from wmss_cli.models.packed import hidden_states, packs
from wmss_cli.train.ranks import Ranks

FOLDER = "weak-states"
_LAYOUT = "layout.json"
_BYTES = 2


class WeakStates:
    """Random access to the states of samples.

    Parameters
    ----------
    folder : Path
        Folder that :func:`fill_weak_states` wrote.
    table : TokenTable
        Table of the samples.
    rows : ndarray of int
        The rows that have states, ascending, each once.
    """

    def __init__(self, folder: Path, table: TokenTable, rows: NDArray[np.int64]) -> None:
        layout = _read_layout(folder)
        assert layout is not None, folder
        self._hidden_size: int = layout["hidden_size"]
        self._bounds = np.array(layout["bounds"])
        self._rows = rows
        self._counts = _positions(table, rows)
        self._ends = np.cumsum(self._counts)
        assert self._bounds[-1] == len(rows), (self._bounds, len(rows))
        self._parts = [
            self._open(folder / _part_name(i), int(first), int(last))
            for i, (first, last) in enumerate(zip(self._bounds[:-1], self._bounds[1:], strict=True))
        ]

    def _open(self, path: Path, first: int, last: int) -> NDArray[np.uint16]:
        shape = (int(self._counts[first:last].sum()), self._hidden_size)
        if shape[0] == 0:
            return np.empty(shape, dtype=np.uint16)
        return np.memmap(path, dtype=np.uint16, mode="r", shape=shape)

    def of(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the states of samples one after another, ``[positions, hidden]``, bf16."""
        found = [np.empty((0, self._hidden_size), dtype=np.uint16)]
        for place in np.searchsorted(self._rows, rows):
            part = int(np.searchsorted(self._bounds, place, side="right")) - 1
            before = int(self._bounds[part])
            end = int(self._ends[place] - (self._ends[before - 1] if before else 0))
            found.append(self._parts[part][end - int(self._counts[place]) : end])
        return torch.from_numpy(np.concatenate(found)).view(torch.bfloat16)


def fill_weak_states(
    folder: Path,
    model: Path,
    precision: Precision,
    table: TokenTable,
    drawn: NDArray[np.int64],
    max_batch_tokens: int,
    ranks: Ranks,
) -> WeakStates:
    """Compute the states of all drawn samples, unless they exist; each rank does a share.

    Parameters
    ----------
    folder : Path
        Folder for the files.
    model : Path
        The weak model.
    precision : {"auto", "bf16", "fp32"}
        Precision of its weights.
    table : TokenTable
        Table of the samples.
    drawn : ndarray of int
        Rows of the table, in any order, some of them several times.
    max_batch_tokens : int
        Most tokens of a forward pass.
    ranks : Ranks
        The processes that share the work.

    Raises
    ------
    StageError
        If the disk has no room for them.
    """
    rows = np.unique(drawn)
    if not _are_sound(folder, ranks):
        weak = load_for_inference(model, precision, packed=True)
        hidden_size = int(weak.config.get_text_config().hidden_size)
        counts = _positions(table, rows)
        ranks.from_first(lambda: _make_room(folder, int(counts.sum()) * hidden_size * _BYTES))
        shares = np.linspace(0, counts.sum(), ranks.world_size + 1)
        bounds = np.searchsorted(np.cumsum(counts), shares, side="left")
        bounds[[0, -1]] = 0, len(rows)
        own = slice(*bounds[ranks.rank : ranks.rank + 2])
        path = folder / _part_name(ranks.rank)
        _compute(path, weak, table, rows[own], hidden_size, max_batch_tokens, ranks)
        with ranks.patient():
            hashes = dict(ranks.gather((path.name, files.sha256(path))))
        layout = {"hidden_size": hidden_size, "bounds": bounds.tolist(), "files": hashes}
        ranks.from_first(lambda: write_sealed(folder / _LAYOUT, layout))
    return WeakStates(folder, table, rows)


def _are_sound(folder: Path, ranks: Ranks) -> bool:
    """Say whether all states are as they were written; each rank checks some of them."""
    # Read by one rank, so that no rank sees what another has written since.
    layout = ranks.from_first(lambda: _read_layout(folder))
    if layout is None:
        return False
    mine = sorted(layout["files"])[ranks.rank :: ranks.world_size]
    with ranks.patient():
        damaged = [name for name in mine if not _is_sound(folder / name, layout["files"][name])]
    if damaged:
        print(f"{folder}: {', '.join(damaged)} damaged, computed again", flush=True)  # noqa: T201
    return not any(ranks.gather(bool(damaged)))


def _is_sound(path: Path, expected: str) -> bool:
    return path.is_file() and files.sha256(path) == expected


def _read_layout(folder: Path) -> dict[str, Any] | None:
    """Return the layout, which says where the states are; None if it is missing or damaged."""
    try:
        layout = unseal((folder / _LAYOUT).read_bytes())
    except FileNotFoundError:
        return None
    # Earlier versions wrote no hashes.
    return layout if layout is not None and "files" in layout else None


def _compute(
    path: Path,
    model: PreTrainedModel,
    table: TokenTable,
    rows: NDArray[np.int64],
    hidden_size: int,
    max_batch_tokens: int,
    ranks: Ranks,
) -> None:
    counts = _positions(table, rows)
    starts = dict(zip(rows.tolist(), np.cumsum(counts) - counts, strict=True))
    progress = ProgressWriter(path.parents[1], "weak states", len(rows)) if ranks.is_first else None
    done = 0
    with path.open("wb") as file, torch.inference_mode():
        for batch in by_length(table.lengths, rows, max_batch_tokens, padded=not packs(model)):
            ranks.beat()
            states = hidden_states(model, collate(table, batch).to(device()))
            narrow = states.to(torch.bfloat16).cpu()
            for row, part in zip(
                batch, narrow.split(_positions(table, batch).tolist()), strict=True
            ):
                file.seek(int(starts[int(row)]) * hidden_size * _BYTES)
                file.write(part.contiguous().view(torch.uint8).numpy().tobytes())
            done += len(batch)
            if progress is not None:
                progress.update(done)
    files.fsync(path)


def _make_room(folder: Path, needed: int) -> None:
    # What an attempt that was stopped has left is computed again, and takes no room until then.
    for left in folder.glob("*"):
        left.unlink()
    folder.mkdir(exist_ok=True)
    free = shutil.disk_usage(folder).free
    sizes = (
        f"{needed / 1e9:.2f} GB for the weak model's hidden states, {free / 1e9:.2f} GB are free"
    )
    print(f"{folder}: {sizes}", flush=True)  # noqa: T201 - goes to the log of the stage
    if needed > free:
        raise StageError(f"{folder}: needs {sizes}; free some space or leave out joint.cache_weak")


def _positions(table: TokenTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many positions of each row predict a token, as ``collate`` counts."""
    return table.lengths[rows] - np.maximum(1, table.prompt_lengths[rows])


def _part_name(rank: int) -> str:
    return f"part-{rank:05d}.bf16"
