"""score-entropy: the entropy of a model on every sample, in shards that are merged once."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.data.tokens import TokenTable
from wmss_cli.stages import score_shard
from wmss_cli.stages.score_shard import ENTROPY_FILE
from wmss_cli.stages.shards import read_shards, remove_shards, run_missing


def run(job: Job) -> Manifest:
    """Score all shards that are missing, and merge them.

    Inputs: ``model`` and ``tokens``. Writes ``entropy.parquet``; the shards stand beside it in
    ``OUT.shards`` until they are merged.
    """
    table = TokenTable(Path(job.inputs["tokens"]))
    with open_draft(job) as draft:
        run_missing(job, score_shard.run, draft.folder, "samples", len(table))
        return _merge(job, draft, table)


def run_merge(job: Job) -> Manifest:
    """Merge shards that other jobs have scored; without a model, so no GPU is needed.

    Raises
    ------
    IntegrityError
        If the shards are not whole (see :func:`~wmss_cli.stages.shards.read_shards`).
    """
    table = TokenTable(Path(job.inputs["tokens"]))
    with open_draft(job) as draft:
        return _merge(job, draft, table)


def _merge(job: Job, draft: Draft, table: TokenTable) -> Manifest:
    """Join the shards into one table, in the token table's order, and remove them."""
    wanted = [(example_id,) for example_id in table.example_ids]
    merged, manifests = read_shards(job, ENTROPY_FILE, ENTROPY, ["example_id"], wanted)
    write_parquet(draft.folder / ENTROPY_FILE, merged.to_pylist(), ENTROPY)
    entropy = np.asarray(merged["entropy"])
    tokens = sum(manifest.metrics["tokens"] for manifest in manifests)
    seconds = sum(manifest.seconds for manifest in manifests)
    manifest = draft.commit(
        {
            "samples": len(entropy),
            "mean_entropy_nats": float(entropy.mean()),
            "std_entropy_nats": float(entropy.std()),
            "tokens": tokens,
            "dtype": manifests[0].metrics["dtype"],
            "shard_seconds": round(seconds, 3),
            "tokens_per_s": round(tokens / seconds, 1),
        }
    )
    remove_shards(job)
    return manifest
