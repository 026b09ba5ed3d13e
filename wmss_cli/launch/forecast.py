"""What the training stages of a configuration will need, before a job is sent.

Memory comes from :mod:`wmss_cli.train.memory`, FLOPs from :mod:`wmss_cli.models.shape`. Torch is
not needed, so a login node will do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config, JointConfig, TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST
from wmss_cli.launch.profile import Profile
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

GB = 10**9
USABLE = 0.9
"""Share of a GPU's memory to plan with: CUDA, NCCL and fragments take the rest."""
MOST_TOKENS = 2**20
"""Where the search for the largest micro-batch ends."""
MOST_NODES = 128

_SIZES = "give --samples and --mean-tokens"


@dataclass(frozen=True)
class Gpus:
    """What a training job gets.

    Attributes
    ----------
    nodes, per_node : int
        One process runs on each GPU.
    mem_gb : float
        Of one GPU.
    tflops : float
        Dense bf16 TFLOP/s of one GPU.
    """

    nodes: int
    per_node: int
    mem_gb: float
    tflops: float

    @property
    def count(self) -> int:
        """All GPUs."""
        return self.nodes * self.per_node

    @property
    def usable(self) -> int:
        """Bytes of one GPU to plan with."""
        return int(USABLE * self.mem_gb * GB)


@dataclass(frozen=True)
class Workload:
    """The samples to train on.

    Attributes
    ----------
    samples : int
        How many there are.
    lengths : sequence of int
        Tokens of each sample, or one mean for all.
    completion_tokens : float
        Mean of a sample.
    longest : int
        Tokens of the longest sample.
    source : str
        Where this is known from.
    """

    samples: int
    lengths: Sequence[int]
    completion_tokens: float
    longest: int
    source: str

    @property
    def mean_tokens(self) -> float:
        """Mean tokens of a sample."""
        return sum(self.lengths) / len(self.lengths)


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
    """Checkpoints that are kept, the one being written, and the models at the end."""
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


def gpus_of(
    profile: Profile | None,
    nodes: int | None = None,
    gpus: int | None = None,
    mem_gb: float | None = None,
    tflops: float | None = None,
) -> Gpus:
    """Return the GPUs of a profile's training jobs; what is given counts more.

    Parameters
    ----------
    profile : Profile or None
        Of the cluster.
    nodes : int, optional
        In place of the profile's.
    gpus : int, optional
        Number of all GPUs, in place of nodes.
    mem_gb, tflops : float, optional
        Of one GPU.

    Raises
    ------
    ConfigError
        If something is not known.
    """
    if gpus is not None and nodes is not None:
        raise ConfigError("--gpus and --nodes are two ways to say how many; give one of them")
    if profile is not None:
        mem_gb = mem_gb or profile.gpu_mem_gb
        tflops = tflops or profile.gpu_tflops
    if profile is None and gpus is None:
        raise ConfigError(
            "on which GPUs? Give --profile (or launch.profile), or --gpus, --gpu-mem-gb and "
            "--gpu-tflops"
        )
    for value, key in ((mem_gb, "gpu_mem_gb"), (tflops, "gpu_tflops")):
        if value is None:
            raise ConfigError(
                f"{key} of the GPUs is not known; give --{key.replace('_', '-')}, or set {key} in "
                "the profile"
            )
    assert mem_gb is not None
    assert tflops is not None
    if gpus is not None:
        return Gpus(1, gpus, mem_gb, tflops)
    assert profile is not None
    if not profile.train.gpus_per_node:
        raise ConfigError(
            "train.gpus_per_node of the profile is 0; choose one with GPUs, or --gpus"
        )
    return Gpus(nodes or profile.train.nodes, profile.train.tasks_per_node, mem_gb, tflops)


def workload(
    config: Config,
    samples: int | None = None,
    mean_tokens: int | None = None,
    mean_completion_tokens: int | None = None,
) -> Workload:
    """Return the samples of a configuration: as given, or of the token table that is there.

    Parameters
    ----------
    config : Config
        Of the pipeline.
    samples, mean_tokens : int, optional
        Both, or none.
    mean_completion_tokens : int, optional
        All tokens where it is left out.

    Raises
    ------
    ConfigError
        If nothing is given, and the pipeline has no token table yet.
    """
    if samples is not None and mean_tokens is not None:
        if mean_tokens > config.tokenize.max_seq_len:
            raise ConfigError(
                f"--mean-tokens {mean_tokens} is above tokenize.max_seq_len "
                f"{config.tokenize.max_seq_len}; change one of them"
            )
        completion = mean_tokens if mean_completion_tokens is None else mean_completion_tokens
        if completion > mean_tokens:
            raise ConfigError("--mean-completion-tokens is above --mean-tokens; lower it")
        longest = config.tokenize.max_seq_len
        return Workload(samples, [mean_tokens], completion, longest, "options")
    if samples is not None or mean_tokens is not None or mean_completion_tokens is not None:
        raise ConfigError(f"one of the sizes of the samples is missing; {_SIZES}")
    folder = _token_table(config)
    if folder is None:
        raise ConfigError(f"{config.run_dir}: no token table of these inputs yet; {_SIZES}")
    from wmss_cli.data.tokens import TokenTable

    table = TokenTable(folder)
    completion_tokens = float(table.completion_lengths.mean())
    longest = int(table.lengths.max())
    return Workload(len(table), table.lengths.tolist(), completion_tokens, longest, str(folder))


def _token_table(config: Config) -> Path | None:
    # Fingerprints need the hashes of all inputs: only where there is something to find.
    if not any(Path(config.run_dir).glob("tokenize-*")):
        return None
    from wmss_cli.stages.pipeline import token_table

    folder = token_table(config)
    return folder if (folder / MANIFEST).is_file() else None


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
        disk_bytes=kept + export_bytes(trained),
        warnings=_warnings(stage, config, trained, gpus, tokens, use),
    )


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
