"""What the stages in shards share: do the shards that are missing, and put the rows together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.errors import IntegrityError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import read_parquet
from wmss_cli.stages.pipeline import shard_jobs

RunShard = Callable[[Job, ProgressWriter, int], Manifest]


def run_missing(job: Job, run_shard: RunShard, folder: Path, unit: str, total: int | None) -> None:
    """Do the shards that are missing, one after the other, with one progress for the whole.

    Parameters
    ----------
    job : Job
        Of the whole stage.
    run_shard : callable
        Does one shard. It is given the shard's job, the progress of the whole, and how much
        was done before it.
    folder : Path
        Where the progress is written.
    unit : str
        What is counted; a shard reports how many it holds as a metric of this name.
    total : int or None
        How many there are in all shards; None where that is not known.
    """
    pieces = {piece.out: (piece, finished(piece)) for piece in shard_jobs(job)}
    done = sum(there.metrics[unit] for _, there in pieces.values() if there is not None)
    progress = ProgressWriter(folder, unit, total, done)
    for piece, there in pieces.values():
        if there is None:
            done += run_shard(piece, progress, done).metrics[unit]


def read_shards(
    job: Job, file: str, schema: pa.Schema, key: Sequence[str], wanted: Sequence[tuple[Any, ...]]
) -> tuple[pa.Table, list[Manifest]]:
    """Check all shards and join their rows.

    Parameters
    ----------
    job : Job
        Of the whole stage.
    file : str
        The table in each shard.
    schema : pyarrow.Schema
        Of that table.
    key : sequence of str
        The columns that say which row is which.
    wanted : sequence of tuple
        The values of `key` in the order that the rows shall have.

    Returns
    -------
    rows : pyarrow.Table
        Of all shards, each that is wanted exactly once.
    manifests : list of Manifest
        Of the shards; all of them have the same ``dtype`` among their metrics.

    Raises
    ------
    IntegrityError
        If a shard is missing, was changed or was computed in another precision, or a row is
        missing, duplicate or foreign.
    """
    manifests = check_shards(job)
    parts = [read_parquet(Path(piece.out) / file, schema) for piece in shard_jobs(job)]
    dtypes = sorted({manifest.metrics["dtype"] for manifest in manifests})
    if len(dtypes) > 1:
        raise IntegrityError(
            f"{job.out}.shards: made partly in {' and partly in '.join(dtypes)}; set "
            f"{job.stage}.precision and run {_command(job)} again with --force"
        )
    return in_order(pa.concat_tables(parts), key, wanted, job), manifests


def check_shards(job: Job) -> list[Manifest]:
    """Check that all shards are there and as they were written; return their manifests.

    Raises
    ------
    IntegrityError
        If a shard is missing or was changed.
    """
    manifests: list[Manifest] = []
    for shard, piece in enumerate(shard_jobs(job)):
        if finished(piece) is None:
            raise IntegrityError(
                f"{piece.out}: shard {shard} is missing or older than its inputs; run "
                f"{_command(job)} again, it does only what is missing"
            )
        manifests.append(verify(Path(piece.out)))
    return manifests


def in_order(
    rows: pa.Table, key: Sequence[str], wanted: Sequence[tuple[Any, ...]], job: Job
) -> pa.Table:
    """Put rows into the order of `wanted`, each exactly once (see :func:`read_shards`)."""
    found = list(zip(*(rows[column].to_pylist() for column in key), strict=True))
    places = {value: row for row, value in enumerate(found)}
    problems = {
        "duplicate": [value for row, value in enumerate(found) if places[value] != row],
        "foreign": sorted(places.keys() - set(wanted)),
        "missing": [value for value in wanted if value not in places],
    }
    for kind, values in problems.items():
        if values:
            raise IntegrityError(
                f"{job.out}.shards: {len(values)} {kind} rows (first: "
                f"{' '.join(str(part) for part in values[0])}); "
                f"run {_command(job)} again with --force"
            )
    return rows.take([places[value] for value in wanted])


def remove_shards(job: Job) -> None:
    """Remove the shards of a stage that is done."""
    shutil.rmtree(f"{job.out}.shards")


def _command(job: Job) -> str:
    return job.stage.replace("_", "-")
