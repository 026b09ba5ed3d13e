"""score-entropy: the entropy of a model on every sample, in shards that are merged once."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from wmss_cli.core.artifact import Draft, Job, open_draft
from wmss_cli.core.config import ScoreConfig
from wmss_cli.core.errors import DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.packing import padding
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import Precision, device, load_for_inference
from wmss_cli.models.kernels import Kernels, fuse_layers
from wmss_cli.models.packed import packs
from wmss_cli.models.tokenizer import load_tokenizer_of
from wmss_cli.score.entropy import completion_entropy
from wmss_cli.stages.model_checks import check_job, say_notes
from wmss_cli.stages.shards import read_options, read_shards

ENTROPY_FILE = "entropy.parquet"
UNIT = "samples"


def total(job: Job) -> int:
    """Return the number of samples."""
    return len(TokenTable(Path(job.inputs["tokens"])))


def shard(job: Job) -> Manifest:
    """Score the samples of one shard (see :class:`~wmss_cli.stages.shards.Sharded`).

    Inputs: ``model`` and ``tokens``. Writes ``entropy.parquet`` with the shard's rows.

    Raises
    ------
    ConfigError
        If the model's tokenizer did not make the token table.
    DataError
        If an entropy is not finite.
    """
    config, index, shards = read_options(ScoreConfig, job)
    table = TokenTable(Path(job.inputs["tokens"]))
    folder = Path(job.inputs["model"])
    load_tokenizer_of(folder, table.tokenizer, job.inputs["tokens"])
    say_notes(check_job(job))
    first, last = (end * len(table) // shards for end in (index, index + 1))
    rows = np.arange(first, last, dtype=np.int64)
    with open_draft(job) as draft:
        progress = ProgressWriter(draft.folder, UNIT, len(rows))
        model = _load(folder, config.precision, config.kernels)
        entropy = np.empty(len(table), dtype=np.float64)
        scored = 0
        padded = not packs(model)
        batches = by_length(table.lengths, rows, config.max_batch_tokens, padded)
        if padded:
            share = padding(table.lengths, batches)
            print(f"padding is {share:.0%} of all tokens in passes", flush=True)  # noqa: T201
        for batch in batches:
            packed = collate(table, batch).to(device())
            entropy[batch] = completion_entropy(model, packed).cpu().numpy()
            scored += len(batch)
            progress.update(scored)
        wrong = [table.example_ids[row] for row in rows if not np.isfinite(entropy[row])]
        if wrong:
            raise DataError(
                f"{folder}: {len(wrong)} entropies are not finite (first: {wrong[0]}); "
                "the weights overflow; try score_entropy.precision fp32"
            )
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
        return draft.commit(
            {
                "samples": len(rows),
                "tokens": int(table.lengths[rows].sum()),
                "dtype": str(model.dtype),
            }
        )


@lru_cache(maxsize=1)
def _load(folder: Path, precision: Precision, kernels: Kernels) -> PreTrainedModel:
    """Load the model once for all shards that this process scores."""
    model = load_for_inference(folder, precision, packed=True)
    print(fuse_layers(model, kernels), flush=True)  # noqa: T201 - goes to the log
    return model


def merge(job: Job, draft: Draft) -> Manifest:
    """Join the shards into one ``entropy.parquet``, in the token table's order."""
    wanted = [(example_id,) for example_id in TokenTable(Path(job.inputs["tokens"])).example_ids]
    merged, manifests = read_shards(job, ENTROPY_FILE, ENTROPY, ["example_id"], wanted)
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
            "dtype": manifests[0].metrics["dtype"],
            "shard_seconds": round(seconds, 3),
            "tokens_per_s": round(tokens / seconds, 1),
        }
    )
