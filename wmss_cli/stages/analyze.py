"""analyze: logit statistics of a model, and its loss on each of some sampled examples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import AnalyzeConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.core.schema import LOSSES, write_parquet
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device, load_for_inference
from wmss_cli.models.heads import Head, head_of
from wmss_cli.models.packed import PackedBatch, hidden_states, packs
from wmss_cli.models.tokenizer import load_tokenizer_of
from wmss_cli.score.entropy import mean_by_row
from wmss_cli.score.logits import STATISTICS, logit_statistics
from wmss_cli.stages.model_checks import check_job, say_notes

LOSSES_FILE = "losses.parquet"

_CHUNK_TOKENS = 256
# Logits in memory at a time, in float64.


class Seen(NamedTuple):
    """What a batch shows of a model.

    Attributes
    ----------
    sums : dict of str to float
        Sums of :data:`~wmss_cli.score.logits.STATISTICS` over the completion tokens.
    losses : Tensor
        ``[documents]``, float64: mean over the document's completion tokens, in nats.
    tokens : Tensor
        ``[documents]``: how many completion tokens each has.
    """

    sums: dict[str, float]
    losses: Tensor
    tokens: Tensor


def run(job: Job) -> Manifest:
    """Average the statistics of Tables 2 and 6 over the completion tokens of some examples.

    Inputs: ``tokens`` and ``model``. The averages are in the manifest's metrics. Writes
    ``losses.parquet``, a row for each example. The examples depend only on the token table and the
    options, so all models of a study are examined on the same ones.

    Raises
    ------
    ConfigError
        If the model's tokenizer did not make the token table.
    """
    config = AnalyzeConfig.model_validate(job.config)
    table = TokenTable(Path(job.inputs["tokens"]))
    folder = Path(job.inputs["model"])
    load_tokenizer_of(folder, table.tokenizer, job.inputs["tokens"])
    say_notes(check_job(job))
    rows = sampled_rows(len(table), config.samples, config.seed)
    with open_draft(job) as draft:
        progress = ProgressWriter(draft.folder, "samples", len(rows))
        model = load_for_inference(folder, config.precision, packed=True)
        sums = dict.fromkeys(STATISTICS, 0.0)
        losses: dict[int, dict[str, Any]] = {}
        for batch in by_length(
            table.lengths, rows, config.max_batch_tokens, padded=not packs(model)
        ):
            seen = look(model, collate(table, batch).to(device()))
            sums = {name: value + seen.sums[name] for name, value in sums.items()}
            for row, loss, tokens in zip(
                batch.tolist(), seen.losses.tolist(), seen.tokens.tolist(), strict=True
            ):
                example_id = table.example_ids[row]
                losses[row] = {"example_id": example_id, "loss": loss, "completion_tokens": tokens}
            progress.update(len(losses))
        # In the order of the draw, however they were batched.
        write_parquet(draft.folder / LOSSES_FILE, (losses[row] for row in rows.tolist()), LOSSES)
        all_tokens = sum(found["completion_tokens"] for found in losses.values())
        statistics = {name: value / all_tokens for name, value in sums.items()}
        return draft.commit({"samples": len(rows), "statistics": statistics})


def sampled_rows(rows: int, samples: int, seed: int) -> NDArray[np.int64]:
    """Draw rows of a token table, without replacement, ``[at most samples]``."""
    rng = np.random.default_rng(seed)
    return rng.choice(rows, size=min(samples, rows), replace=False)


@torch.inference_mode()
def look(model: PreTrainedModel, batch: PackedBatch) -> Seen:
    """Return what a batch shows of a model.

    Parameters
    ----------
    model : PreTrainedModel
        In evaluation mode, with packed attention.
    batch : PackedBatch
        On the model's device; each document with at least one token to predict.
    """
    sums = dict.fromkeys(STATISTICS, 0.0)
    losses = []
    for logits, targets in _chunks(hidden_states(model, batch), head_of(model), batch.targets):
        for name, values in logit_statistics(logits, targets).items():
            sums[name] += float(values.sum())
        losses.append(cross_entropy(logits.double(), targets, reduction="none"))
    ends = torch.tensor(batch.lengths, device=batch.predicting.device).cumsum(0)
    document = torch.searchsorted(ends, batch.predicting, right=True)
    tokens = torch.bincount(document, minlength=len(ends))
    return Seen(sums, mean_by_row(torch.cat(losses), tokens), tokens)


def _chunks(hidden: Tensor, head: Head, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits ``[tokens, vocab]`` and targets ``[tokens]`` of a few tokens at a time."""
    parts = zip(hidden.split(_CHUNK_TOKENS), targets.split(_CHUNK_TOKENS), strict=True)
    return ((head.logits(part), wanted) for part, wanted in parts)
