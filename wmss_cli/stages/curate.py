"""curate: records as they come → the examples that are worth training on, and why not the rest.

Shards judge each record by itself; then duplicates are looked for among all of them, once.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wmss_cli.analyze.card import write_card
from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import CurateConfig
from wmss_cli.core.errors import DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import EXAMPLE, REJECTED
from wmss_cli.data.duplicates import PERMUTATIONS, band_keys, originals, suspects
from wmss_cli.data.filters import REASONS
from wmss_cli.evaluate.tasks import TASK_ROLE
from wmss_cli.stages import curate_shard
from wmss_cli.stages.curate_shard import DATA_ROLE, JUDGED_FILE
from wmss_cli.stages.pipeline import shard_jobs
from wmss_cli.stages.shards import check_shards, remove_shards, run_missing
from wmss_cli.stages.tables import TableWriter

EXAMPLES_FILE = "examples.parquet"
REJECTED_FILE = "rejected.parquet"

_ROWS_PER_BATCH = 256
_UNREADABLE_SHOWN = 5

Row = dict[str, Any]
_Counts = defaultdict[str, Counter[str]]


def run(job: Job) -> Manifest:
    """Keep the well-formed, new records whose answer is right.

    Inputs: ``data-0000``, ``data-0001``, … (files of records) and, to look for their questions,
    ``task-NAME`` and ``spec-NAME`` as of :func:`wmss_cli.stages.evaluate.run`. Writes
    ``examples.parquet``; for every other record its id and the reason into ``rejected.parquet``,
    whose ``file`` is the input's role and the file's name without its ending; and a data card,
    ``card.md`` with ``lengths.png``.

    Raises
    ------
    ConfigError
        If there is no input, or one is missing or of an unknown kind.
    DataError
        If a file is damaged, there is no record at all, or none is kept.
    """
    with open_draft(job) as draft:
        run_missing(job, curate_shard.run, draft.folder, "records", None)
        return _merge(job, draft)


def run_merge(job: Job) -> Manifest:
    """Put together what other jobs have judged.

    Raises
    ------
    IntegrityError
        If the shards are not whole (see :func:`~wmss_cli.stages.shards.check_shards`).
    """
    with open_draft(job) as draft:
        return _merge(job, draft)


def _merge(job: Job, draft: Draft) -> Manifest:
    config = CurateConfig.model_validate(job.config)
    levels = {manifest.metrics["sandbox"] for manifest in check_shards(job)} - {None}
    files = [Path(piece.out) / JUDGED_FILE for piece in shard_jobs(job)]
    threshold = config.near_threshold if config.deduplicate == "near" else None
    copies = _copies(files, threshold)
    paths = {role: path for role, path in job.inputs.items() if role.startswith(DATA_ROLE)}
    tally = _Tally(paths)
    with (
        TableWriter(draft.folder / EXAMPLES_FILE, EXAMPLE) as examples,
        TableWriter(draft.folder / REJECTED_FILE, REJECTED) as rejected,
    ):
        for row in _in_order(files):
            if row["place"] in copies:
                row["reason"], row["detail"] = copies[row["place"]]
            tally.count(row)
            (examples if row["reason"] is None else rejected).append(row)
    where = ", ".join(paths.values())
    if not tally.records:
        raise DataError(f"{where}: no records; check that this is the right file")
    if not tally.kept:
        raise DataError(
            f"{where}: none of {tally.records} records kept ({tally.reasons()}); "
            f"see {draft.folder / REJECTED_FILE}"
        )
    metrics = tally.metrics()
    metrics["decontaminated_against"] = [
        role.removeprefix(TASK_ROLE) for role in job.inputs if role.startswith(TASK_ROLE)
    ]
    metrics["sandbox"] = sorted(levels)
    prints = {role: source.fingerprint for role, source in draft.inputs.items()}
    write_card(draft.folder, metrics, tally.words, {**prints, "this artifact": draft.fingerprint})
    manifest = draft.commit(metrics)
    remove_shards(job)
    return manifest


def _copies(files: Sequence[Path], threshold: float | None) -> dict[int, tuple[str, str]]:
    """Return why a record goes that an earlier one makes superfluous, by its place."""
    columns = ["place", "content_key", "reason", "file", "row"]
    tables = [pq.read_table(file, columns=columns, read_dictionary=["file"]) for file in files]
    judged = pa.concat_tables(tables)
    places = judged["place"].to_numpy()
    kept = judged["reason"].is_null().to_numpy().copy()
    # A record that is rejected makes no other one superfluous.
    rows = np.flatnonzero(kept)
    copied = rows[_repeated(judged["content_key"].take(rows), places[rows])]
    kept[copied] = False
    copies = {int(place): ("duplicate", "") for place in places[copied]}
    if threshold is None:
        return copies
    left = np.flatnonzero(kept)
    near = left[suspects(_band_keys(files, kept, threshold))]
    # In the order of the records: the first of a cluster stays.
    near = near[np.argsort(places[near])]
    signatures = _signatures(files, near)
    found = originals(band_keys(signatures, threshold), signatures, threshold)
    for row, original in zip(near.tolist(), near[found].tolist(), strict=True):
        if original != row:
            detail = f"of {judged['file'][original]}, row {judged['row'][original]}"
            copies[int(places[row])] = ("near_duplicate", detail)
    return copies


def _repeated(keys: pa.ChunkedArray, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows whose key a row with a lower place has, too; null is no key."""
    there = np.flatnonzero(keys.is_valid().to_numpy())
    # Two numbers for 16 bytes.
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
    """Return the keys of the rows that are kept, file after file."""
    parts = [
        band_keys(part[kept[first : first + len(part)]], threshold)
        for first, part in _signature_batches(files)
    ]
    return np.concatenate(parts)


def _signatures(files: Sequence[Path], rows: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the signatures of some rows, in their order."""
    found = np.empty((len(rows), PERMUTATIONS), dtype=np.uint32)
    for first, part in _signature_batches(files):
        here = np.flatnonzero((rows >= first) & (rows < first + len(part)))
        found[here] = part[rows[here] - first]
    return found


def _signature_batches(files: Sequence[Path]) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """Yield the number of the first row, and signatures ``[rows, PERMUTATIONS]``."""
    nothing = bytes(4 * PERMUTATIONS)
    first = 0
    yield first, np.empty((0, PERMUTATIONS), dtype=np.uint32)
    for file in files:
        # Pre-buffered, all that is read of a file stays in memory.
        for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
            4 * _ROWS_PER_BATCH, columns=["signature"]
        ):
            content = b"".join(value or nothing for value in batch["signature"].to_pylist())
            part = np.frombuffer(content, dtype=np.uint32).reshape(-1, PERMUTATIONS)
            yield first, part
            first += len(part)


def _in_order(files: Sequence[Path]) -> Iterator[Row]:
    """Yield the rows of all shards in the order of the records."""
    columns = ["place", "kind", *dict.fromkeys([*EXAMPLE.names, *REJECTED.names])]
    return heapq.merge(*(_rows(file, columns) for file in files), key=lambda row: row["place"])


def _rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
        _ROWS_PER_BATCH, columns=list(columns)
    ):
        yield from batch.to_pylist()


@dataclass
class _Tally:
    """The table of counts."""

    paths: dict[str, str]
    records: int = 0
    kept: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    by_source: _Counts = field(default_factory=lambda: defaultdict(Counter))
    by_kind: _Counts = field(default_factory=lambda: defaultdict(Counter))
    words: Counter[int] = field(default_factory=Counter)
    """How many kept samples have so many words."""
    unreadable: list[str] = field(default_factory=list)

    def count(self, row: Row) -> None:
        reason = row["reason"]
        self.records += 1
        for counts, name in ((self.by_source, row["source"]), (self.by_kind, row["kind"])):
            if name is not None:
                counts[name].update(total=1, kept=int(reason is None))
        if reason is None:
            self.kept += 1
            self.words[len(row["prompt"].split()) + len(row["completion"].split())] += 1
            return
        assert reason in REASONS, reason
        self.rejected[reason] += 1
        if reason == "unreadable" and len(self.unreadable) < _UNREADABLE_SHOWN:
            path = self.paths[row["file"].partition(":")[0]]
            self.unreadable.append(f"{path}:{row['row']}: {row['detail']}")

    def reasons(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in self.rejected.most_common())

    def metrics(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "kept": self.kept,
            "rejected": dict(self.rejected.most_common()),
            "by_kind": {kind: dict(counts) for kind, counts in sorted(self.by_kind.items())},
            "by_source": {name: dict(counts) for name, counts in sorted(self.by_source.items())},
            "first_unreadable": self.unreadable,
        }
