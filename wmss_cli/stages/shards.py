"""Stages in shards: do the shards that are missing, then merge them.

A shard is an artifact of its own in ``OUT.shards``, so finished shards are kept, whether the
processes of one machine share them or Slurm runs each as a job.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pyarrow as pa

from wmss_cli.core.artifact import Draft, Job, finished, open_draft
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.redo import is_marked
from wmss_cli.core.schema import read_parquet
from wmss_cli.core.section import Section
from wmss_cli.stages import table
from wmss_cli.stages.shard_progress import ShardCount
from wmss_cli.stages.shard_queue import open_queue

S = TypeVar("S", bound=Section)


class Sharded(Protocol):
    """What the module of a stage in shards provides."""

    UNIT: str
    """What is counted; a shard reports its count as a metric of this name."""

    def total(self, job: Job) -> int | None:
        """Return the count over all shards; None if it is not known beforehand."""

    def shard(self, job: Job) -> Manifest:
        """Do one shard, which counts its own progress, in its own folder.

        Parameters
        ----------
        job : Job
            The shard's job (see :func:`shard_job`).
        """

    def merge(self, job: Job, draft: Draft) -> Manifest:
        """Put the results of all shards together, check that they are complete, and commit.

        Parameters
        ----------
        job : Job
            The whole stage's job.
        draft : Draft
            Where to put them.
        """


def run(job: Job) -> Manifest | None:
    """Do the shards that are missing, with one progress; then merge.

    All workers of a launcher call it. The first of them (``RANK`` 0) says what is missing, each
    takes one shard after another, and the first merges when all are done.

    Returns
    -------
    Manifest or None
        None in all workers but the first.

    Raises
    ------
    WmssError
        As the stage raises it.
    IntegrityError
        If the shards are not complete (see :func:`check_shards`).
    """
    stage = _module(job)
    job = cut(job)
    pieces = shard_jobs(job)
    with open_queue() as queue:
        if int(os.environ.get("RANK", "0")) > 0:
            for shard in queue.take():
                stage.shard(pieces[shard])
            return None
        total = stage.total(job)
        with open_draft(job) as draft:
            there = [finished(piece) for piece in pieces]
            before = sum(one.metrics[stage.UNIT] for one in there if one is not None)
            left = {shard: pieces[shard] for shard, one in enumerate(there) if one is None}
            count = ShardCount(draft.folder, stage.UNIT, total, before, left, queue)
            queue.fill(left)
            with count.kept():
                for shard in queue.take():
                    stage.shard(pieces[shard])
                queue.wait()
            return _merge(stage, job, draft)


def run_shard(job: Job) -> Manifest:
    """Do one shard, which is a job of its own."""
    return _module(job).shard(job)


def run_merge(job: Job) -> Manifest:
    """Merge shards that other jobs have done; it computes none, so no GPU is needed.

    Raises
    ------
    IntegrityError
        If the shards are not complete (see :func:`check_shards`).
    """
    with open_draft(job) as draft:
        return _merge(_module(job), job, draft)


def _merge(stage: Sharded, job: Job, draft: Draft) -> Manifest:
    manifest = stage.merge(job, draft)
    shutil.rmtree(f"{job.out}.shards")
    return manifest


def _module(job: Job) -> Sharded:
    return cast(Sharded, table.find(job.stage).load())


def cut(job: Job, processes: int = 1) -> Job:
    """Set how many shards a stage has, if its configuration leaves that open.

    Existing shards decide it, since with another number they would be useless; otherwise each
    process gets its own (see :attr:`wmss_cli.stages.table.Stage.shards_each`).

    Parameters
    ----------
    job : Job
        The whole stage's job.
    processes : int
        How many processes work on it at the same time.
    """
    if job.config["shards"] is not None:
        return job
    usual = 1 if processes == 1 else processes * table.find(job.stage).shards_each
    return replace(job, config={**job.config, "shards": _cut_before(job) or usual})


def _cut_before(job: Job) -> int | None:
    """Return into how many shards an earlier attempt split a stage, if they are still useful."""
    beside = Path(f"{job.out}.shards")
    keeps_begun = table.find(job.stage).keeps_begun
    useful: Counter[int] = Counter()
    for path in beside.iterdir() if beside.is_dir() else ():
        name = re.fullmatch(r"(\d+-of-(\d+))(\.partial)?", path.name)
        if name and (keeps_begun or not name[3]) and not is_marked(beside / name[1]):
            useful[int(name[2])] += 1
    return max(useful, key=lambda shards: (useful[shards], shards), default=None)


def shard_job(job: Job, shard: int) -> Job:
    """Return the job of one shard of a stage: an artifact of its own in ``OUT.shards``.

    Parameters
    ----------
    job : Job
        The job of the whole stage, one with shards (see :func:`cut`).
    shard : int
        Number of the shard, from 0.

    Raises
    ------
    ConfigError
        If there is no such shard.
    """
    shards = _number(job)
    if not 0 <= shard < shards:
        raise ConfigError(f"shard {shard}: there are {shards} shards, 0 to {shards - 1}")
    name = table.find(job.stage).shards
    assert name is not None, job.stage
    return Job(
        stage=name,
        config={**job.config, "shards": shards, "shard": shard},
        identity={**job.identity, "shard": shard, "shards": shards},
        inputs=job.inputs,
        out=f"{job.out}.shards/{shard:05d}-of-{shards:05d}",
        verify_inputs=job.verify_inputs,
    )


def shard_jobs(job: Job) -> list[Job]:
    """Return the jobs of all shards of a stage, in order (see :func:`shard_job`)."""
    return [shard_job(job, shard) for shard in range(_number(job))]


def _number(job: Job) -> int:
    """Return the number of shards; one if nothing has set it (see :func:`cut`)."""
    return int(job.config["shards"] or 1)


def read_options(kind: type[S], job: Job) -> tuple[S, int, int]:
    """Return the options of a shard's stage, which of its shards this is, from 0, and of how many.

    Parameters
    ----------
    kind : type
        The stage's section.
    job : Job
        The shard's job.
    """
    options = dict(job.config)
    shard = int(options.pop("shard"))
    return kind.model_validate(options), shard, int(options["shards"])


def read_shards(
    job: Job, file: str, schema: pa.Schema, key: Sequence[str], wanted: Sequence[tuple[Any, ...]]
) -> tuple[pa.Table, list[Manifest]]:
    """Check all shards and join their rows.

    Parameters
    ----------
    job : Job
        The whole stage's job.
    file : str
        The table in each shard.
    schema : pyarrow.Schema
        Schema of that table.
    key : sequence of str
        The columns that identify a row.
    wanted : sequence of tuple
        The values of `key` in the order that the rows should have.

    Returns
    -------
    rows : pyarrow.Table
        Rows of all shards, each wanted one exactly once.
    manifests : list of Manifest
        Manifests of the shards, all with the same ``dtype`` among their metrics.

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
    """Check that all shards exist and are as they were written; return their manifests.

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


def _command(job: Job) -> str:
    return job.stage.replace("_", "-")
