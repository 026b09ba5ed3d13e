"""joint-train: the strong model learns against logits mixed with the weak one's (phase B)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedModel

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import JointConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.models.causal import load_packed
from wmss_cli.models.heads import head_of
from wmss_cli.models.tokenizer import check_same_vocabulary
from wmss_cli.stages.training import run_training
from wmss_cli.train.objectives.table import Loss, Name
from wmss_cli.train.pair import WeakStrongPair

_LOSSES: Mapping[str, Name] = {
    "model": "mixed",
    "uniform": "mixed",
    "shuffled": "shuffled",
    "noise": "noise",
}


def run(job: Job) -> Manifest | None:
    """Train the strong model of a pair on an active set.

    Inputs: ``strong``, ``weak`` (unless the weak logits are uniform), ``tokens`` and, for a
    curriculum, ``active``. Writes ``model/`` (the strong model), ``weak/`` if it was co-trained,
    and ``metrics.jsonl``. It must run on every rank; the first returns the manifest.

    Raises
    ------
    ConfigError
        If the pair does not share one vocabulary and tokenizer.
    """
    config = JointConfig.model_validate(job.config)
    uses_weak = config.weak_logits != "uniform"
    if uses_weak and "weak" not in job.inputs:
        raise ConfigError("joint-train needs a weak model; give --weak, or weak_logits: uniform")
    if uses_weak:
        check_same_vocabulary(Path(job.inputs["weak"]), Path(job.inputs["strong"]))

    def build_pair() -> WeakStrongPair:
        strong = load_packed(Path(job.inputs["strong"]), config.precision)
        weak = load_packed(Path(job.inputs["weak"]), config.precision) if uses_weak else None
        weak_head = None
        if weak is not None and config.cache_weak:
            weak_head, weak = head_of(weak).detach().clone(), None
        return WeakStrongPair(
            strong,
            weak,
            config.mix_lambda,
            config.weak_mode,
            config.loss_backend,
            weak_head,
            Loss(_LOSSES[config.weak_logits], seed=config.seed),
        )

    def outputs(pair: WeakStrongPair) -> dict[str, PreTrainedModel]:
        models = {"model": pair.strong}
        if pair.weak is not None and not pair.weak_frozen:
            models["weak"] = pair.weak
        return models

    cached = Path(job.inputs["weak"]) if config.cache_weak else None
    return run_training(job, config, build_pair, outputs, cached)
