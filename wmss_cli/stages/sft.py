"""sft: M1 = SFT(M0, D), completion tokens only."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.models.causal import load_packed
from wmss_cli.models.tokenizer import check_same_vocabulary
from wmss_cli.stages.training import run_training
from wmss_cli.train.objectives.table import Objective
from wmss_cli.train.pair import WeakStrongPair


def run(job: Job) -> Manifest | None:
    """Fine-tune a model on a token table.

    Inputs: ``strong`` (the model to train), ``tokens`` and, for `undial_kd`, ``reference`` (the
    frozen model that it is held to). Writes ``model/`` and ``metrics.jsonl``. Must run on every
    rank; the first returns the manifest.

    Raises
    ------
    ConfigError
        If the objective needs a reference and there is none, or it has another vocabulary.
    """
    config = SftConfig.model_validate(job.config)
    objective = Objective(
        "mixed" if config.objective == "cross_entropy" else config.objective,
        label_smoothing=config.label_smoothing,
        undial_beta=config.undial_beta,
        seed=config.seed,
    )
    needs_reference = objective.row.needs_other
    if needs_reference and "reference" not in job.inputs:
        raise ConfigError(
            f"sft.objective {config.objective} needs a reference model; wmss run gives it the "
            "model that it starts from"
        )
    if needs_reference:
        check_same_vocabulary(Path(job.inputs["reference"]), Path(job.inputs["strong"]))

    def build_pair() -> WeakStrongPair:
        reference = None
        if needs_reference:
            reference = load_packed(Path(job.inputs["reference"]), config.precision)
        return WeakStrongPair(
            load_packed(Path(job.inputs["strong"]), config.precision),
            reference,
            weak_mode="frozen",
            loss_backend=config.loss_backend,
            objective=objective,
            neftune_alpha=config.neftune_alpha,
        )

    return run_training(job, config, build_pair, lambda pair: {"model": pair.strong})
