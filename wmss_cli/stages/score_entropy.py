"""score-entropy: the entropy of a model on every sample, in shards that are merged once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wmss_cli.core.artifact import Job, Manifest, finished, open_draft, verify
from wmss_cli.core.config import ScoreConfig
from wmss_cli.core.errors import ConfigError, IntegrityError
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import ENTROPY, read_parquet, write_parquet
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device, load_for_inference
from wmss_cli.models.tokenizer import load_tokenizer, tokenizer_fingerprint
from wmss_cli.score.scorer import completion_entropy

ENTROPY_FILE = "entropy.parquet"


def run(job: Job) -> Manifest:
    """Score all shards that are missing, and merge them.

    Inputs: ``model`` and ``tokens``. Writes ``entropy.parquet``; the shards stay beside it in
    ``OUT.shards`` until the merge.
    """
    config = ScoreConfig.model_validate(job.config)
    table = TokenTable(Path(job.inputs["tokens"]))
    for shard in range(config.shards):
        run_shard(job, shard, table)
    return merge(job, table)


def run_shard(job: Job, shard: int, table: TokenTable | None = None) -> Manifest:
    """Score one shard, an artifact of its own, unless it is done.

    Parameters
    ----------
    job : Job
        Of the whole stage.
    shard : int
        From 0.
    table : TokenTable, optional
        If it is open already.

    Raises
    ------
    ConfigError
        If there is no such shard, or the model's tokenizer did not make the table.
    """
    config = ScoreConfig.model_validate(job.config)
    if not 0 <= shard < config.shards:
        raise ConfigError(
            f"--shard {shard}: there are {config.shards} shards, 0 to {config.shards - 1}"
        )
    piece = shard_job(job, shard)
    done = finished(piece)
    if done is not None:
        return done
    table = table or TokenTable(Path(job.inputs["tokens"]))
    folder = Path(job.inputs["model"])
    tokenizer = load_tokenizer(folder)
    if tokenizer_fingerprint(tokenizer) != table.tokenizer:
        raise ConfigError(
            f"{folder}: its tokenizer is not the one that made {job.inputs['tokens']}; "
            "run tokenize with this model"
        )
    model = load_for_inference(folder, config.precision)
    rows = shard_rows(len(table), shard, config.shards)
    with open_draft(piece) as draft:
        # The display watches the whole stage, not one shard.
        watched = Path(f"{job.out}.partial")
        watched.mkdir(parents=True, exist_ok=True)
        progress = ProgressWriter(watched, "samples", len(table), int(rows[0]) if len(rows) else 0)
        entropy = np.empty(len(table), dtype=np.float64)
        scored = 0
        for batch in by_length(table.lengths, rows, config.max_batch_tokens):
            tensors = collate(table, batch, int(tokenizer.pad_token_id))
            tensors = {name: tensor.to(device()) for name, tensor in tensors.items()}
            entropy[batch] = completion_entropy(model, **tensors).cpu().numpy()
            scored += len(batch)
            progress.update(int(rows[0]) + scored)
        write_parquet(
            draft.folder / ENTROPY_FILE,
            (
                {
                    "example_id": table.example_ids[row],
                    "entropy": entropy[row],
                    "completion_tokens": int(table.completion_lengths[row]),
                }
                for row in rows
            ),
            ENTROPY,
        )
        return draft.commit({"samples": len(rows), "tokens": int(table.lengths[rows].sum())})


def merge(job: Job, table: TokenTable | None = None) -> Manifest:
    """Join the shards into one table, in the token table's order.

    Raises
    ------
    IntegrityError
        If a shard is missing or belongs to other work, or a row is missing, duplicate or
        foreign.
    """
    config = ScoreConfig.model_validate(job.config)
    table = table or TokenTable(Path(job.inputs["tokens"]))
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
    with open_draft(job) as draft:
        merged = join_shards(pa.concat_tables(parts), table.example_ids)
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
                "score_seconds": round(seconds, 3),
                "tokens_per_s": round(tokens / seconds, 1),
            }
        )
    shutil.rmtree(f"{job.out}.shards")
    return manifest


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


def shard_job(job: Job, shard: int) -> Job:
    """Return the job of one shard: an artifact of its own, beside the merged one."""
    shards = int(job.config["shards"])
    return Job(
        stage=f"{job.stage}_shard",
        config={**job.config, "shard": shard},
        identity={**job.identity, "shard": shard, "shards": shards},
        inputs=job.inputs,
        out=f"{job.out}.shards/{shard:05d}-of-{shards:05d}",
    )


def shard_rows(rows: int, shard: int, shards: int) -> NDArray[np.int64]:
    """Return the rows of a shard: shards are contiguous and differ by at most one row."""
    return np.arange(shard * rows // shards, (shard + 1) * rows // shards, dtype=np.int64)
