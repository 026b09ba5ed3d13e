"""score-entropy: the entropy of a model on every sample, in shards that are merged once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from wmss_cli.core.artifact import Draft, Job, finished, open_draft
from wmss_cli.core.config import ScoreConfig
from wmss_cli.core.errors import IntegrityError
from wmss_cli.core.manifest import Manifest, verify
from wmss_cli.core.schema import ENTROPY, read_parquet, write_parquet
from wmss_cli.data.tokens import TokenTable
from wmss_cli.stages import score_shard
from wmss_cli.stages.pipeline import shard_job
from wmss_cli.stages.score_shard import ENTROPY_FILE


def run(job: Job) -> Manifest:
    """Score all shards that are missing, and merge them.

    Inputs: ``model`` and ``tokens``. Writes ``entropy.parquet``; the shards stand beside it in
    ``OUT.shards`` until they are merged.
    """
    config = ScoreConfig.model_validate(job.config)
    with open_draft(job) as draft:
        for shard in range(config.shards):
            piece = shard_job(job, shard)
            if finished(piece) is None:
                score_shard.run(piece)
        manifest = merge(job, draft)
    shutil.rmtree(f"{job.out}.shards")
    return manifest


def merge(job: Job, draft: Draft) -> Manifest:
    """Join the shards into one table, in the token table's order.

    Raises
    ------
    IntegrityError
        If a shard is missing or belongs to other work, or a row is missing, duplicate or
        foreign.
    """
    config = ScoreConfig.model_validate(job.config)
    table = TokenTable(Path(job.inputs["tokens"]))
    parts: list[pa.Table] = []
    manifests: list[Manifest] = []
    for shard in range(config.shards):
        piece = shard_job(job, shard)
        if finished(piece) is None:
            raise IntegrityError(
                f"{piece.out}: shard {shard} is missing or older than its inputs; run "
                "score-entropy again, it scores only what is missing"
            )
        manifests.append(verify(Path(piece.out)))
        parts.append(read_parquet(Path(piece.out) / ENTROPY_FILE, ENTROPY))
    dtypes = sorted({manifest.metrics["dtype"] for manifest in manifests})
    if len(dtypes) > 1:
        raise IntegrityError(
            f"{job.out}.shards: scored partly in {' and partly in '.join(dtypes)}; set "
            "score_entropy.precision and score them again with --force"
        )
    merged = join_shards(pa.concat_tables(parts), table.example_ids)
    write_parquet(draft.folder / ENTROPY_FILE, merged.to_pylist(), ENTROPY)
    entropy = np.asarray(merged["entropy"])
    tokens = sum(manifest.metrics["tokens"] for manifest in manifests)
    seconds = sum(manifest.seconds for manifest in manifests)
    return draft.commit(
        {
            "samples": len(entropy),
            "mean_entropy_nats": float(entropy.mean()),
            "std_entropy_nats": float(entropy.std()),
            "tokens": tokens,
            "dtype": dtypes[0],
            "score_seconds": round(seconds, 3),
            "tokens_per_s": round(tokens / seconds, 1),
        }
    )


def join_shards(rows: pa.Table, example_ids: list[str]) -> pa.Table:
    """Put scored rows into the order of `example_ids`, each exactly once.

    Raises
    ------
    IntegrityError
        If a row is missing, duplicate or foreign.
    """
    scored = rows["example_id"].to_pylist()
    by_id = {example_id: row for row, example_id in enumerate(scored)}
    problems = {
        "duplicate": [i for row, i in enumerate(scored) if by_id[i] != row],
        "foreign": sorted(by_id.keys() - set(example_ids)),
        "missing": [i for i in example_ids if i not in by_id],
    }
    for kind, ids in problems.items():
        if ids:
            raise IntegrityError(
                f"{len(ids)} {kind} rows in the entropy shards (first: {ids[0]}); "
                "score them again with --force"
            )
    return rows.take([by_id[example_id] for example_id in example_ids])
