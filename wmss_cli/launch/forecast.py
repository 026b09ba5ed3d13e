"""What a study will need, before a job is sent: memory, time and disk, cost of arms, power.

Memory comes from :mod:`wmss_cli.train.memory`, FLOPs from :mod:`wmss_cli.models.shape`. Torch is
not needed, so a login node will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config, JointConfig, SftConfig, TrainConfig
from wmss_cli.launch import costs
from wmss_cli.launch.costs import Passes
from wmss_cli.launch.forecast_inputs import RATES, Answers, Gpus, Rates, Workload
from wmss_cli.launch.power_forecast import PowerForecast, forecast_power
from wmss_cli.launch.study_forecast import (
    WHOLE,
    Chosen,
    Planned,
    StudyForecast,
    base_models,
    plan_study,
    price_study,
)
from wmss_cli.models.folder import find_config
from wmss_cli.models.shape import ModelShape
from wmss_cli.train.fitting import Training, fitted, is_open, trained_by
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
    """What one training stage needs, with the options of its section."""

    stage: Literal["sft", "joint-train"]
    model: str
    """Name of the base model; empty where there is one."""
    precision: Literal["bf16", "fp32"]
    gradient_checkpointing: str
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
    """What a study needs."""

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
    """Of each base model; arms may differ in their options."""
    warnings: list[str]
    """Of arms that hold other things on a GPU than the trainings above."""
    study: StudyForecast
    power: PowerForecast | None
    """None where nothing is compared: one arm, or no benchmark."""


def forecast(
    config: Config,
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates = RATES,
    chosen: Chosen = WHOLE,
) -> Forecast:
    """Predict what a study needs: memory of its trainings, cost of its arms, power.

    Parameters
    ----------
    config : Config
        With `model` or `models`, of which the ``config.json`` is read.
    gpus : Gpus
        Of the training jobs.
    work : Workload
        The samples; those of the first base model count for all.
    answers : Answers
        What evaluation asks of each model.
    rates : Rates
        Fractions of peak FLOP/s that work reaches.
    chosen : Chosen
        The part of the study to price.

    Raises
    ------
    ConfigError
        If a model is not here, or of an architecture that cannot be counted, or an arm cannot be
        trained.
    """
    folders = {name: find_config(model) for name, model in base_models(config).items()}
    planned = plan_study(config, {name: str(path) for name, path in folders.items()}, chosen)
    shapes = {
        name: ModelShape.of_folder(path)
        for name, path in folders.items()
        if name in planned.models.values()
    }
    return _forecast(planned, shapes, gpus, work, answers, rates)


def forecast_shapes(
    config: Config,
    shapes: Mapping[str, ModelShape],
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates = RATES,
) -> Forecast:
    """Predict as :func:`forecast` does, for models of which the shapes alone are known.

    Parameters
    ----------
    shapes : mapping of str to ModelShape
        Of the base models, by name; a single one has the empty name.
    """
    planned = plan_study(config, {name: name for name in shapes})
    return _forecast(planned, shapes, gpus, work, answers, rates)


def _forecast(
    planned: Planned,
    shapes: Mapping[str, ModelShape],
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates,
) -> Forecast:
    passes = {name: Passes.of(shape, work) for name, shape in shapes.items()}
    trainings = [
        training
        for name, one in passes.items()
        for training in _trainings(planned, name, one, gpus, work, rates)
    ]
    return Forecast(
        nodes=gpus.nodes,
        gpus=gpus.count,
        gpu_mem_gb=gpus.mem_gb,
        usable_bytes=gpus.usable,
        gpu_tflops=gpus.tflops,
        share=rates.share,
        samples=work.samples,
        mean_tokens=work.mean_tokens,
        mean_completion_tokens=work.completion_tokens,
        longest_tokens=work.longest,
        samples_from=work.source,
        trainings=trainings,
        warnings=list(_other_warnings(planned, shapes, gpus, work)),
        study=price_study(planned, passes, answers, gpus, rates),
        power=forecast_power(planned.config, answers),
    )


def _trainings(
    planned: Planned, name: str, passes: Passes, gpus: Gpus, work: Workload, rates: Rates
) -> Iterator[TrainingForecast]:
    """Yield both stages as configured, where an arm is trained by them."""
    config = planned.config
    stages = {
        step.job.stage for step, _ in planned.trainings() if planned.models[step.label] == name
    }
    if "sft" in stages:
        yield _training(
            "sft", name, config.sft, passes, gpus, work, rates, runs=1, rows=work.samples
        )
    if "joint_train" in stages:
        rows = max(1, round(config.curriculum.multiplier * work.samples))
        yield _training(
            "joint-train",
            name,
            config.joint,
            passes,
            gpus,
            work,
            rates,
            runs=config.iterations,
            rows=rows,
        )


def _training(
    stage: Literal["sft", "joint-train"],
    model: str,
    config: SftConfig | JointConfig,
    passes: Passes,
    gpus: Gpus,
    work: Workload,
    rates: Rates,
    *,
    runs: int,
    rows: int,
) -> TrainingForecast:
    config = _decided(config, passes.shape, gpus, work)
    trained = _trained(config, passes.shape)
    tokens = max(config.pass_tokens, work.longest)
    zero = [
        _stage_memory(trained, zero_stage, gpus, tokens)
        for zero_stage in STAGES
        if zero_stage or not trained.bf16
    ]
    fitting = [row.zero_stage for row in zero if row.fits]
    use = fitting[0] if fitting else None
    needed = costs.training(config, passes, rows)
    gpu_hours = needed.gpu_hours(gpus, rates.share)
    checkpoint = checkpoint_bytes(trained, config.zero_stage)
    kept = (config.keep_checkpoints + 1) * checkpoint
    # In bf16, for each completion token.
    cached = costs.cached_samples(config, passes, rows) * passes.completion_tokens
    return TrainingForecast(
        stage=stage,
        model=model,
        precision="bf16" if trained.bf16 else "fp32",
        gradient_checkpointing=config.gradient_checkpointing,
        parameters=trained.parameters,
        trained_parameters=trained.trained_parameters,
        micro_batch_tokens=tokens,
        zero_stage=config.zero_stage,
        use_zero_stage=use,
        zero=zero,
        runs=runs,
        samples=needed.samples,
        steps=needed.steps,
        tokens=needed.tokens,
        flops=needed.flops,
        recomputed_flops=needed.recomputed_flops,
        hours=gpu_hours / gpus.count,
        gpu_hours=gpu_hours,
        checkpoint_bytes=checkpoint,
        disk_bytes=kept
        + export_bytes(trained, len(config.epochs_kept))
        + round(cached * passes.shape.hidden_size * 2),
        warnings=_warnings(stage, config, trained, gpus, tokens, use),
    )


def _trained(config: TrainConfig, shape: ModelShape) -> Trained:
    second = costs.second_model(config)
    weak = None if second is None else shape
    bf16 = config.precision != "fp32"
    return trained_by(config, shape, weak, second == "frozen", bf16)


def _decided(config: Training, shape: ModelShape, gpus: Gpus, work: Workload) -> Training:
    """Return a section with what a job on these GPUs takes where it says auto."""
    if not is_open(config):
        return config
    step = round(config.global_batch_size * work.mean_tokens)
    return fitted(config, _trained(config, shape), gpus.count, gpus.usable, work.longest, step)


def _other_warnings(
    planned: Planned, shapes: Mapping[str, ModelShape], gpus: Gpus, work: Workload
) -> Iterator[str]:
    """Yield a line for each training that holds other things than both stages, and does not fit."""
    config = planned.config
    decided = [
        (_decided(section, shape, gpus, work), shape)
        for shape in shapes.values()
        for section in (config.sft, config.joint)
    ]
    said = {
        (_trained(section, shape), section.zero_stage, section.pass_tokens)
        for section, shape in decided
    }
    for step, own in planned.trainings():
        shape = shapes[planned.models[step.label]]
        section = _decided(own, shape, gpus, work)
        trained = _trained(section, shape)
        kind = (trained, section.zero_stage, section.pass_tokens)
        tokens = max(section.pass_tokens, work.longest)
        if kind in said or _fits(trained, section.zero_stage, gpus, tokens):
            continue
        said.add(kind)
        use = [zero for zero in STAGES if _fits(trained, zero, gpus, tokens)]
        way = f"set zero_stage {use[0]}" if use else _way_out(trained, gpus, tokens)
        yield f"{step.label}: zero_stage {section.zero_stage} does not fit; {way}"


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
    recomputing = replace(trained, checkpointing=1)
    if trained.checkpointing != 1:
        fitting = [n for n in STAGES[1:] if _fits(recomputing, n, gpus, tokens)]
        if fitting:
            return f"with gradient_checkpointing full, zero_stage {fitting[0]} does"
    for nodes in range(gpus.nodes + 1, MOST_NODES + 1):
        if _fits(recomputing, 3, replace(gpus, nodes=nodes), tokens):
            return f"zero_stage 3 with gradient_checkpointing does on {nodes * gpus.per_node} GPUs"
    return "nor do more GPUs help: use shorter samples (tokenize.max_seq_len), or a smaller model"


def _fits(trained: Trained, zero_stage: int, gpus: Gpus, tokens: int) -> bool:
    if zero_stage == 0 and trained.bf16:
        return False
    return memory(trained, zero_stage, gpus.count, tokens).peak <= gpus.usable
