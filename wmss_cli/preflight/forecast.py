"""What a study will need, before any job is sent: memory, time and disk, cost of arms, power.

Memory comes from :mod:`wmss_cli.train.memory`, FLOPs from :mod:`wmss_cli.models.shape`. Torch is
not needed, so a login node suffices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config, JointConfig, SftConfig
from wmss_cli.core.selection import WHOLE, Selection
from wmss_cli.models.published import shape_of
from wmss_cli.models.shape import ModelShape
from wmss_cli.preflight import costs
from wmss_cli.preflight.costs import Passes
from wmss_cli.preflight.inputs import RATES, Answers, Gpus, Rates
from wmss_cli.preflight.memory import (
    StageMemory,
    decided,
    fits,
    pass_tokens,
    stage_memory,
    trained,
    warnings,
    way_out,
)
from wmss_cli.preflight.power import PowerForecast, forecast_power
from wmss_cli.preflight.step_costs import RECORDS_PER_S, RECORDS_PER_SAMPLE, TOKENS_PER_S, Prices
from wmss_cli.preflight.study_costs import (
    Planned,
    StudyForecast,
    base_models,
    plan_study,
    price_study,
)
from wmss_cli.preflight.training_time import training_time
from wmss_cli.preflight.workload import Workload
from wmss_cli.slurm.chain import lead_seconds
from wmss_cli.train.memory import STAGES, Trained, checkpoint_bytes, export_bytes


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class TrainingForecast(_Result):
    """What one training stage needs, with the options of its section."""

    stage: Literal["sft", "joint-train"]
    model: str
    """Name of the base model; empty if there is only one."""
    precision: Literal["bf16", "fp32"]
    gradient_checkpointing: str
    parameters: int
    trained_parameters: int
    micro_batch_tokens: int
    """Tokens of the largest pass: as configured, or the longest sample."""
    zero_stage: int
    """As configured."""
    use_zero_stage: int | None
    """The lowest stage that fits; null if none does."""
    zero: list[StageMemory]
    runs: int
    """How often the pipeline runs this training: once for each iteration."""
    samples: int
    steps: int
    tokens: int
    flops: int
    """FLOPs that are needed; nothing counts twice."""
    recomputed_flops: int
    passes_per_step: float
    """Passes of each rank, on average."""
    balance: float
    """Tokens of a pass, divided by those of the fullest rank."""
    computing_hours: float
    waiting_hours: float
    """Waiting for the fullest rank of each pass."""
    communication_hours: float
    """Communication that nothing else overlaps."""
    saving_hours: float
    hours: float
    """Sum of all these."""
    gpu_hours: float
    mfu: float
    """FLOPs, divided by the time of the steps and the data-sheet rate."""
    mfu_with_recomputation: float
    """The same, with recomputation included."""
    checkpoint_bytes: int
    signal_lead_s: int
    """How long before its limit a Slurm job is told to save."""
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
    """Dense bf16, from the data sheet."""
    mfu: float | None
    """As given; null if it follows from the parts of a step."""
    computing_share: float
    """Fraction of that rate while a pass computes."""
    samples: int
    mean_tokens: float
    mean_completion_tokens: float
    longest_tokens: int
    samples_from: str
    assumed: list[str]
    """What is unknown, and which option replaces the assumption."""
    trainings: list[TrainingForecast]
    """Trainings of each base model; arms may differ in their options."""
    warnings: list[str]
    """Warnings about arms that need other memory on a GPU than the trainings above."""
    study: StudyForecast
    power: PowerForecast | None
    """None if nothing is compared: one arm, or no benchmark."""


def forecast(
    config: Config,
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates = RATES,
    selection: Selection = WHOLE,
) -> Forecast:
    """Predict what a study needs: memory of its trainings, cost of its arms, power.

    Parameters
    ----------
    config : Config
        With `model` or `models`, whose ``config.json`` is read; for some base models the name is
        enough.
    gpus : Gpus
        GPUs of the training jobs.
    work : Workload
        The samples; those of the first base model count for all.
    answers : Answers
        What evaluation asks of each model.
    rates : Rates
        Fractions of the data-sheet FLOP/s that work reaches.
    selection : Selection
        Which part of the study to price.

    Raises
    ------
    ConfigError
        If a model is not here, its architecture cannot be counted, or an arm cannot be trained.
    """
    found = {name: shape_of(model) for name, model in base_models(config).items()}
    planned = plan_study(config, base_models(config), selection)
    shapes = {name: one for name, (one, _) in found.items() if name in planned.models.values()}
    assumed = [
        f"the sizes of {hub_id} as published; its config.json replaces them"
        for name, (_, hub_id) in found.items()
        if hub_id is not None and name in shapes
    ]
    return _forecast(planned, shapes, gpus, work, answers, rates, assumed)


def forecast_shapes(
    config: Config,
    shapes: Mapping[str, ModelShape],
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates = RATES,
) -> Forecast:
    """Predict as :func:`forecast` does, for models of which only the shapes are known.

    Parameters
    ----------
    shapes : mapping of str to ModelShape
        Shapes of the base models, by name; a single one has the empty name.
    """
    planned = plan_study(config, {name: name for name in shapes})
    return _forecast(planned, shapes, gpus, work, answers, rates, [])


def _forecast(
    planned: Planned,
    shapes: Mapping[str, ModelShape],
    gpus: Gpus,
    work: Workload,
    answers: Answers,
    rates: Rates,
    assumed: list[str],
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
        mfu=rates.mfu,
        computing_share=rates.computing,
        samples=work.samples,
        mean_tokens=work.mean_tokens,
        mean_completion_tokens=work.completion_tokens,
        longest_tokens=work.longest,
        samples_from=work.source,
        assumed=[*assumed, *work.assumed, *answers.assumed, *gpus.assumed, *_assumed(planned)],
        trainings=trainings,
        warnings=list(_other_warnings(planned, shapes, gpus, work)),
        study=price_study(planned, Prices(passes, work, answers, gpus, rates)),
        power=forecast_power(planned.config, answers),
    )


def _assumed(planned: Planned) -> Iterator[str]:
    """Yield what is assumed about stages on CPUs."""
    if planned.steps:
        yield (
            f"{RECORDS_PER_SAMPLE:g} records for each sample that is kept, of which a worker of "
            f"curate checks {RECORDS_PER_S:g} per second; {TOKENS_PER_S:,.0f} tokens per second in "
            "tokenize"
        )


def _trainings(
    planned: Planned, name: str, passes: Passes, gpus: Gpus, work: Workload, rates: Rates
) -> Iterator[TrainingForecast]:
    """Yield both stages as configured, if an arm is trained by them."""
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
    config = decided(config, passes.shape, gpus, work)
    held = trained(config, passes.shape)
    tokens = pass_tokens(config, work)
    zero = [
        stage_memory(held, zero_stage, gpus, tokens)
        for zero_stage in STAGES
        if zero_stage or not held.bf16
    ]
    fitting = [row.zero_stage for row in zero if row.fits]
    use = fitting[0] if fitting else None
    needed = costs.training(config, passes, rows)
    time = training_time(config, held, needed, gpus, work, rates)
    again = (needed.flops + needed.recomputed_flops) / needed.flops
    checkpoint = checkpoint_bytes(held, config.zero_stage)
    kept = (config.keep_checkpoints + 1) * checkpoint
    # In bf16, for each completion token.
    cached = costs.cached_samples(config, passes, rows) * passes.completion_tokens
    return TrainingForecast(
        stage=stage,
        model=model,
        precision="bf16" if held.bf16 else "fp32",
        gradient_checkpointing=config.gradient_checkpointing,
        parameters=held.parameters,
        trained_parameters=held.trained_parameters,
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
        passes_per_step=time.packing.passes,
        balance=time.packing.balance,
        computing_hours=time.computing / 3600,
        waiting_hours=time.waiting / 3600,
        communication_hours=time.communication / 3600,
        saving_hours=time.saving / 3600,
        hours=time.total / 3600,
        gpu_hours=time.total / 3600 * gpus.count,
        mfu=time.mfu,
        mfu_with_recomputation=time.mfu * again,
        checkpoint_bytes=checkpoint,
        signal_lead_s=lead_seconds(checkpoint, gpus.disk_gb_per_s),
        disk_bytes=kept
        + export_bytes(held, len(config.epochs_kept))
        + round(cached * passes.shape.hidden_size * 2),
        warnings=warnings(stage, config, held, gpus, tokens, use),
    )


def _other_warnings(
    planned: Planned, shapes: Mapping[str, ModelShape], gpus: Gpus, work: Workload
) -> Iterator[str]:
    """Yield a line for each training that needs other memory than both stages, and does not fit."""
    config = planned.config
    said = {
        _kind(decided(section, shape, gpus, work), shape)
        for shape in shapes.values()
        for section in (config.sft, config.joint)
    }
    for step, own in planned.trainings():
        shape = shapes[planned.models[step.label]]
        section = decided(own, shape, gpus, work)
        kind = _kind(section, shape)
        held, tokens = kind[0], pass_tokens(section, work)
        if kind in said or fits(held, section.zero_stage, gpus, tokens):
            continue
        said.add(kind)
        use = [zero for zero in STAGES if fits(held, zero, gpus, tokens)]
        way = f"set zero_stage {use[0]}" if use else way_out(held, gpus, tokens)
        yield f"{step.label}: zero_stage {section.zero_stage} does not fit; {way}"


def _kind(section: SftConfig | JointConfig, shape: ModelShape) -> tuple[Trained, int, int]:
    return trained(section, shape), section.zero_stage, section.pass_tokens
