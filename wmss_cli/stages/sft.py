"""sft: M1 = SFT(M0, D), completion tokens only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import Manifest
from wmss_cli.data.batches import BatchPlan
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_packed
from wmss_cli.models.shape import ModelShape
from wmss_cli.models.tokenizer import check_same_vocabulary
from wmss_cli.stages.training import plan_batches, run_training
from wmss_cli.stages.training_flops import match_flops, sample_flops
from wmss_cli.train.meter import StepCost
from wmss_cli.train.objectives.table import Loss
from wmss_cli.train.pair import WeakStrongPair


def run(job: Job) -> Manifest | None:
    """Fine-tune a model on a token table.

    Inputs: ``strong`` (the model to train), ``tokens``; for `undial_kd`, ``reference`` (the frozen
    reference model); for `match_flops`, ``matched`` (the joint training's active set). Writes
    ``model/`` and ``metrics.jsonl``. It must run on every rank; the first returns the manifest.

    Raises
    ------
    ConfigError
        If the objective needs a reference and there is none, or it has another vocabulary; if FLOPs
        are to be matched but nothing says with what, or they cannot be counted.
    """
    config = SftConfig.model_validate(job.config)
    loss = Loss(
        "mixed" if config.objective == "cross_entropy" else config.objective,
        label_smoothing=config.label_smoothing,
        undial_beta=config.undial_beta,
        seed=config.seed,
    )
    needs_reference = loss.row.needs_other
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
            loss=loss,
            neftune_alpha=config.neftune_alpha,
        )

    def replan(table: TokenTable, plan: BatchPlan) -> tuple[BatchPlan, dict[str, Any]]:
        if config.match_flops == "none":
            return plan, {}
        return _match(job, config, config.match_flops, needs_reference, table, plan)

    return run_training(job, config, build_pair, lambda pair: {"model": pair.strong}, replan=replan)


def _match(
    job: Job,
    config: SftConfig,
    weak_mode: Literal["cotrain", "frozen"],
    has_reference: bool,
    table: TokenTable,
    plan: BatchPlan,
) -> tuple[BatchPlan, dict[str, Any]]:
    """Spend as many FLOPs as the joint training on the active set ``matched``.

    They are those of this section's epochs, steps, batch size and seed, with a weak model of the
    strong one's shape.
    """
    if "matched" not in job.inputs:
        raise ConfigError(
            f"sft.match_flops {weak_mode} needs the active set of the joint training to match; "
            "wmss run gives it"
        )
    shape = ModelShape.of_folder(Path(job.inputs["strong"]))
    joint = StepCost(shape, shape, weak_mode)
    own = StepCost(shape, shape if has_reference else None, "frozen")
    matched, wanted = match_flops(
        plan,
        sample_flops(own, table),
        plan_batches(table, config, job.inputs["matched"]),
        sample_flops(joint, table),
    )
    return matched, {"matched_flops": wanted}
