"""One shard of score-entropy: an artifact of its own, so that what is done stays done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import ScoreConfig
from wmss_cli.core.errors import DataError
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device, load_for_inference
from wmss_cli.models.tokenizer import load_tokenizer_of
from wmss_cli.score.scorer import completion_entropy

ENTROPY_FILE = "entropy.parquet"


class ShardConfig(ScoreConfig):
    """The options of score-entropy, and which part this is."""

    shard: int
    """From 0."""


def run(job: Job, progress: ProgressWriter | None = None, before: int = 0) -> Manifest:
    """Score the samples of one shard.

    Inputs: ``model`` and ``tokens``. Writes ``entropy.parquet`` with the shard's rows.

    Parameters
    ----------
    job : Job
        Of the shard.
    progress : ProgressWriter, optional
        Of the whole stage; without it the shard counts for itself, in its own folder.
    before : int
        Samples that count as done in `progress` when the shard begins.

    Raises
    ------
    ConfigError
        If the model's tokenizer did not make the token table.
    """
    config = ShardConfig.model_validate(job.config)
    table = TokenTable(Path(job.inputs["tokens"]))
    folder = Path(job.inputs["model"])
    load_tokenizer_of(folder, table.tokenizer, job.inputs["tokens"])
    first, last = (part * len(table) // config.shards for part in (config.shard, config.shard + 1))
    rows = np.arange(first, last, dtype=np.int64)
    with open_draft(job) as draft:
        if progress is None:
            progress = ProgressWriter(draft.folder, "samples", len(rows), before)
        model = load_for_inference(folder, config.precision, packed=True)
        entropy = np.empty(len(table), dtype=np.float64)
        scored = 0
        for batch in by_length(table.lengths, rows, config.max_batch_tokens):
            packed = collate(table, batch).to(device())
            entropy[batch] = completion_entropy(model, packed).cpu().numpy()
            scored += len(batch)
            progress.update(before + scored)
        wrong = [table.example_ids[row] for row in rows if not np.isfinite(entropy[row])]
        if wrong:
            raise DataError(
                f"{folder}: {len(wrong)} entropies are not finite (first: {wrong[0]}); "
                "the weights overflow, try score_entropy.precision fp32"
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
