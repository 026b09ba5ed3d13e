"""Exact and near copies among all judged records, whichever files they are in.

Memory holds only hashes, and the signatures of the records that may be near copies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wmss_cli.data.duplicates import PERMUTATIONS, band_keys, originals, suspects

_ROWS_PER_BATCH = 1024


def find_copies(
    files: Sequence[Path], threshold: float | None, gone: Collection[int] = ()
) -> dict[int, tuple[str, str]]:
    """Return why records are rejected as copies of earlier ones, by their places.

    Parameters
    ----------
    files : sequence of Path
        Tables of :data:`wmss_cli.core.schema.JUDGED` records. Together they have every place once.
    threshold : float or None
        Two records are near copies from this overlap (Jaccard) on; None finds only exact copies.
    gone : collection of int
        Places of records that are rejected for other reasons.

    Returns
    -------
    dict of int to (str, str)
        Reason (``duplicate`` or ``near_duplicate``) and detail, by the record's place.
    """
    columns = ["place", "content_key", "reason", "file", "row"]
    tables = [pq.read_table(file, columns=columns, read_dictionary=["file"]) for file in files]
    judged = pa.concat_tables(tables)
    places = judged["place"].to_numpy()
    kept = judged["reason"].is_null().to_numpy() & ~np.isin(places, list(gone))
    # A rejected record does not make another one a copy.
    rows = np.flatnonzero(kept)
    copied = rows[_repeated(judged["content_key"].take(rows), places[rows])]
    kept[copied] = False
    copies = {int(place): ("duplicate", "") for place in places[copied]}
    if threshold is None:
        return copies
    left = np.flatnonzero(kept)
    near = left[suspects(_band_keys(files, kept, threshold))]
    # In the order of the records: the first one of a cluster stays.
    near = near[np.argsort(places[near])]
    signatures, problems = _signatures(files, near)
    keys = band_keys(signatures, problems, threshold)
    found = originals(keys, signatures, problems, threshold)
    for row, original in zip(near.tolist(), near[found].tolist(), strict=True):
        if original != row:
            detail = f"of {judged['file'][original]}, row {judged['row'][original]}"
            copies[int(places[row])] = ("near_duplicate", detail)
    return copies


def _repeated(keys: pa.ChunkedArray, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows whose key also occurs at a lower place; null is not a key."""
    there = np.flatnonzero(keys.is_valid().to_numpy())
    # 16 bytes as two numbers.
    held = keys.drop_null().combine_chunks()
    numbers = np.frombuffer(held.buffers()[1] or b"", dtype=np.uint64).reshape(-1, 2)
    first, second = numbers[held.offset : held.offset + len(held)].T
    order = np.lexsort((places[there], second, first))
    first, second = first[order], second[order]
    same = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    rows: NDArray[np.int64] = there[order[1:][same]]
    return rows


def _band_keys(
    files: Sequence[Path], kept: NDArray[np.bool_], threshold: float
) -> NDArray[np.uint32]:
    """Return the keys of the rows that are kept, file by file."""
    parts = [
        band_keys(part[here], problems[here], threshold)
        for first, part, problems in _signature_batches(files)
        for here in [kept[first : first + len(part)]]
    ]
    return np.concatenate(parts)


def _signatures(
    files: Sequence[Path], rows: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Return the signatures and the problem keys of some rows, in order."""
    found = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
    keys = np.empty(len(rows), dtype=np.uint64)
    for first, part, problems in _signature_batches(files):
        here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
        found[here] = part[rows[here] - first]
        keys[here] = problems[rows[here] - first]
    return found, keys


def _signature_batches(
    files: Sequence[Path],
) -> Iterator[tuple[int, NDArray[np.uint32], NDArray[np.uint64]]]:
    """Yield the number of the first row, signatures ``[rows, PERMUTATIONS]``, and problem keys."""
    first = 0
    yield first, np.empty((0, PERMUTATIONS), dtype=np.uint32), np.empty(0, dtype=np.uint64)
    for file in files:
        # With pre-buffering, everything read from a file stays in memory.
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
            _ROWS_PER_BATCH, columns=["signature", "problem_key"]
        ):
            part = np.frombuffer(_bytes(batch["signature"], 4 * PERMUTATIONS), dtype=np.uint32)
            problems = np.frombuffer(_bytes(batch["problem_key"], 8), dtype=np.uint64)
            yield first, part.reshape(-1, PERMUTATIONS), problems
            first += len(problems)


def _bytes(column: pa.Array, width: int) -> bytes:
    """Return all values of a column, with zeros for missing ones."""
    return b"".join(value or bytes(width) for value in column.to_pylist())
