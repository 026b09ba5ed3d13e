"""analyze: logit statistics of several models on the same sampled examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wmss_cli.analyze.logits import STATISTICS, logit_statistics
from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.config import AnalyzeConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device, load_for_inference
from wmss_cli.models.packed import head_weight, hidden_states


def run(job: Job) -> Manifest:
    """Average the statistics of Tables 2 and 6 over the completion tokens of some samples.

    Inputs: ``tokens`` and, for each model, ``model-NAME``. The numbers are in the manifest's
    metrics, by NAME.
    """
    config = AnalyzeConfig.model_validate(job.config)
    table = TokenTable(Path(job.inputs["tokens"]))
    rng = np.random.default_rng(config.seed)
    rows = rng.choice(len(table), size=min(config.samples, len(table)), replace=False)
    names = sorted(role for role in job.inputs if role.startswith("model-"))
    with open_draft(job) as draft:
        progress = ProgressWriter(draft.folder, "models", len(names))
        statistics = {}
        for i, role in enumerate(names):
            folder = Path(job.inputs[role])
            statistics[role.removeprefix("model-")] = _average(folder, table, rows, config)
            progress.update(i + 1)
        return draft.commit({"samples": len(rows), "statistics": statistics})


@torch.inference_mode()
def _average(
    folder: Path, table: TokenTable, rows: NDArray[np.int64], config: AnalyzeConfig
) -> dict[str, float]:
    model = load_for_inference(folder, config.precision, packed=True)
    head = head_weight(model)
    sums = dict.fromkeys(STATISTICS, 0.0)
    tokens = 0
    for batch in by_length(table.lengths, rows, config.max_batch_tokens):
        packed = collate(table, batch).to(device())
        hidden = hidden_states(model, packed)
        for chunk, wanted in zip(hidden.split(256), packed.targets.split(256), strict=True):
            for name, values in logit_statistics(chunk @ head.T, wanted).items():
                sums[name] += float(values.sum())
        tokens += len(packed.targets)
    return {name: value / tokens for name, value in sums.items()}
