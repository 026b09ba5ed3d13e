"""What the training stages of a configuration will need, before a job is sent.

Memory comes from :mod:`wmss_cli.train.memory`, FLOPs from :mod:`wmss_cli.models.shape`. Torch is
not needed, so a login node will do.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config, JointConfig, TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.launch.forecast_inputs import Gpus, Workload
from wmss_cli.models.folder import find_config
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.train.memory import (
    STAGES,
    Memory,
    Trained,
    checkpoint_bytes,
    export_bytes,
    largest_micro_batch,
    memory,
)

MOST_TOKENS = 2**20
"""Where the search for the largest micro-batch ends."""
MOST_NODES = 128


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageMemory(_Result):
    """One ZeRO stage: bytes on each GPU, as of :class:`wmss_cli.train.memory.Memory`."""

    zero_stage: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    buffers_bytes: int
    activations_bytes: int
    working_bytes: int
    loss_bytes: int
    step_copies_bytes: int
    micro_batch_bytes: int
    """Activations, and the larger of loss and working space."""
    peak_bytes: int
    fits: bool
    largest_micro_batch_tokens: int
    """0 where not even one token fits."""


class TrainingForecast(_Result):
    """What one training stage needs."""

    stage: Literal["sft", "joint-train"]
    precision: Literal["bf16", "fp32"]
    gradient_checkpointing: bool
    parameters: int
    trained_parameters: int
    micro_batch_tokens: int
    """Of the largest pass: as configured, or the longest sample."""
    zero_stage: int
    """As configured."""
    use_zero_stage: int | None
    """The lowest that fits; null where none does."""
    zero: list[StageMemory]
    runs: int
    """How often the pipeline trains so: once for each iteration."""
    samples: int
    steps: int
    tokens: int
    flops: int
    recomputed_flops: int
    hours: float
    gpu_hours: float
    checkpoint_bytes: int
    disk_bytes: int
    """Checkpoints that are kept, the one being written, the models at the end, and the hidden
    states of ``joint.cache_weak``."""
    warnings: list[str]


class Forecast(_Result):
    """What all training stages of a configuration need."""

    nodes: int
    gpus: int
    gpu_mem_gb: float
    usable_bytes: int
    gpu_tflops: float
    share: float
    samples: int
    mean_tokens: float
    mean_completion_tokens: float
    longest_tokens: int
    samples_from: str
    trainings: list[TrainingForecast]


def forecast(config: Config, gpus: Gpus, work: Workload, share: float) -> Forecast:
    """Predict memory, time and disk space of sft and joint-train.

    Parameters
    ----------
    config : Config
        With `model`, of which the ``config.json`` is read.
    gpus : Gpus
        Of the training jobs.
    work : Workload
        The samples.
    share : float
        Of the GPUs' dense rate that the matrix products reach.

    Raises
    ------
    ConfigError
        If the model is not here, or of an architecture that cannot be counted.
    """
    if config.model is None:
        raise ConfigError("model is not set; 'wmss plan' needs its config.json (--set model=…)")
    shape = ModelShape.of_folder(find_config(config.model))
    return forecast_shapes(config, shape, gpus, work, share)


def forecast_shapes(
    config: Config, shape: ModelShape, gpus: Gpus, work: Workload, share: float
) -> Forecast:
    """Predict as :func:`forecast` does, for a model of which the shape alone is known."""
    return Forecast(
        nodes=gpus.nodes,
        gpus=gpus.count,
        gpu_mem_gb=gpus.mem_gb,
        usable_bytes=gpus.usable,
        gpu_tflops=gpus.tflops,
        share=share,
        samples=work.samples,
        mean_tokens=work.mean_tokens,
        mean_completion_tokens=work.completion_tokens,
        longest_tokens=work.longest,
        samples_from=work.source,
        trainings=[
            _training("sft", config.sft, shape, gpus, work, share, 1, 1.0),
            _training(
                "joint-train",
                config.joint,
                shape,
                gpus,
                work,
                share,
                config.iterations,
                config.curriculum.multiplier,
            ),
        ],
    )


def _training(
    stage: Literal["sft", "joint-train"],
    config: TrainConfig,
    shape: ModelShape,
    gpus: Gpus,
    work: Workload,
    share: float,
    runs: int,
    multiplier: float,
) -> TrainingForecast:
    trained = _trained(config, shape)
    tokens = max(config.micro_batch_tokens, work.longest)
    zero = [
        _stage_memory(trained, zero_stage, gpus, tokens)
        for zero_stage in STAGES
        if zero_stage or not trained.bf16
    ]
    fitting = [row.zero_stage for row in zero if row.fits]
    use = fitting[0] if fitting else None
    samples = max(1, round(config.epochs * max(1, round(multiplier * work.samples))))
    if config.max_steps is not None:
        samples = min(samples, config.max_steps * config.global_batch_size)
    drawn = samples / len(work.lengths)
    head_tokens = round(work.completion_tokens * len(work.lengths))
    mode: Literal["cotrain", "frozen"] = "frozen" if trained.weak_frozen else "cotrain"
    flops = drawn * train_flops(trained.strong, trained.weak, mode, work.lengths, head_tokens)
    cached = _cached_share(config, multiplier)
    if cached:
        # Beyond the first time, a sample passes through the weak model's head alone.
        again_drawn = max(0.0, samples - cached * work.samples) / len(work.lengths)
        flops -= again_drawn * shape.forward_flops(work.lengths, 0)
    again = drawn * sum(model.forward_flops(work.lengths, 0) for model in trained.learners)
    again *= config.gradient_checkpointing
    hours = (flops + again) / (share * gpus.tflops * 1e12 * gpus.count) / 3600
    checkpoint = checkpoint_bytes(trained, config.zero_stage)
    kept = (config.keep_checkpoints + 1) * checkpoint
    return TrainingForecast(
        stage=stage,
        precision="bf16" if trained.bf16 else "fp32",
        gradient_checkpointing=config.gradient_checkpointing,
        parameters=trained.parameters,
        trained_parameters=trained.trained_parameters,
        micro_batch_tokens=tokens,
        zero_stage=config.zero_stage,
        use_zero_stage=use,
        zero=zero,
        runs=runs,
        samples=samples,
        steps=math.ceil(samples / config.global_batch_size),
        tokens=round(samples * work.mean_tokens),
        flops=round(flops),
        recomputed_flops=round(again),
        hours=hours,
        gpu_hours=hours * gpus.count,
        checkpoint_bytes=checkpoint,
        disk_bytes=kept
        + export_bytes(trained, len(config.epochs_kept))
        + _cached_bytes(cached, shape, work),
        warnings=_warnings(stage, config, trained, gpus, tokens, use),
    )


def _cached_share(config: TrainConfig, multiplier: float) -> float:
    """Return how many of the samples have their weak hidden states stored, at most."""
    if not isinstance(config, JointConfig) or not config.cache_weak:
        return 0.0
    return min(1.0, multiplier)


def _cached_bytes(share: float, shape: ModelShape, work: Workload) -> int:
    """Return the most that the weak model's hidden states take, in bf16."""
    return round(share * work.samples * work.completion_tokens * shape.hidden_size * 2)


def _trained(config: TrainConfig, shape: ModelShape) -> Trained:
    weak, frozen = None, False
    if isinstance(config, JointConfig) and config.weak_logits == "model":
        weak, frozen = shape, config.weak_mode == "frozen"
    bf16 = config.precision != "fp32"
    return Trained(shape, weak, frozen, bf16, config.gradient_checkpointing)


def _stage_memory(trained: Trained, zero_stage: int, gpus: Gpus, tokens: int) -> StageMemory:
    held: Memory = memory(trained, zero_stage, gpus.count, tokens)
    return StageMemory(
        zero_stage=zero_stage,
        weights_bytes=held.weights,
        gradients_bytes=held.gradients,
        optimizer_bytes=held.optimizer,
        buffers_bytes=held.buffers,
        activations_bytes=held.activations,
        working_bytes=held.working,
        loss_bytes=held.loss,
        step_copies_bytes=held.step_copies,
        micro_batch_bytes=held.micro_batch,
        peak_bytes=held.peak,
        fits=held.peak <= gpus.usable,
        largest_micro_batch_tokens=largest_micro_batch(
            trained, zero_stage, gpus.count, gpus.usable, MOST_TOKENS
        ),
    )


def _warnings(
    stage: str, config: TrainConfig, trained: Trained, gpus: Gpus, tokens: int, use: int | None
) -> list[str]:
    said = []
    if gpus.count > config.global_batch_size:
        said.append(
            f"global_batch_size {config.global_batch_size} is less than {gpus.count} GPUs; "
            f"{stage} will not start"
        )
    if use is None:
        said.append(f"no ZeRO stage fits {tokens:,} tokens; {_way_out(trained, gpus, tokens)}")
    elif config.zero_stage == 0 and trained.bf16:
        said.append(f"zero_stage 0 is for fp32, and GPUs take bf16; set zero_stage {use}")
    elif not _fits(trained, config.zero_stage, gpus, tokens):
        said.append(f"zero_stage {config.zero_stage} does not fit; set zero_stage {use}")
    return said


def _way_out(trained: Trained, gpus: Gpus, tokens: int) -> str:
    recomputing = replace(trained, checkpointing=True)
    if not trained.checkpointing:
        fitting = [n for n in STAGES[1:] if _fits(recomputing, n, gpus, tokens)]
        if fitting:
            return f"with gradient_checkpointing true, zero_stage {fitting[0]} does"
    for nodes in range(gpus.nodes + 1, MOST_NODES + 1):
        if _fits(recomputing, 3, replace(gpus, nodes=nodes), tokens):
            return f"zero_stage 3 with gradient_checkpointing does on {nodes * gpus.per_node} GPUs"
    return "nor do more GPUs help: use shorter samples (tokenize.max_seq_len), or a smaller model"


def _fits(trained: Trained, zero_stage: int, gpus: Gpus, tokens: int) -> bool:
    if zero_stage == 0 and trained.bf16:
        return False
    return memory(trained, zero_stage, gpus.count, tokens).peak <= gpus.usable
