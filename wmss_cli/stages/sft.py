"""sft: M1 = SFT(M0, D), completion tokens only."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import SftConfig
from wmss_cli.core.manifest import Manifest
from wmss_cli.models.causal import load_packed
from wmss_cli.stages.training import run_training
from wmss_cli.train.pair import WeakStrongPair


def run(job: Job) -> Manifest | None:
    """Fine-tune a model on a token table.

    Inputs: ``strong`` (the model to train) and ``tokens``. Writes ``model/`` and
    ``metrics.jsonl``. Must run on every rank; the first returns the manifest.
    """
    config = SftConfig.model_validate(job.config)
    return run_training(
        job,
        config,
        lambda: WeakStrongPair(
            load_packed(Path(job.inputs["strong"]), config.precision),
            loss_backend=config.loss_backend,
        ),
        lambda pair: {"model": pair.strong},
    )
