"""What memory the ranks of a training need, which ZeRO stages fit, and what to do if none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import JointConfig, SftConfig, TrainConfig
from wmss_cli.models.shape import ModelShape
from wmss_cli.preflight.inputs import Gpus
from wmss_cli.preflight.workload import Workload
from wmss_cli.train.fitting import fitted, is_open, trained_by
from wmss_cli.train.memory import STAGES, Memory, Trained, largest_micro_batch, memory

Training = TypeVar("Training", bound=SftConfig | JointConfig)

MOST_TOKENS = 2**20
"""Where the search for the largest micro-batch ends."""
MOST_NODES = 128
"""Where the search for enough GPUs ends."""


class StageMemory(BaseModel):
    """One ZeRO stage: bytes on each GPU, as in :class:`wmss_cli.train.memory.Memory`."""

    model_config = ConfigDict(frozen=True)

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
    """0 if not even one token fits."""


def stage_memory(held: Trained, zero_stage: int, gpus: Gpus, tokens: int) -> StageMemory:
    """Return the memory that a GPU needs at a ZeRO stage, with passes of that many tokens."""
    need: Memory = memory(held, zero_stage, gpus.count, tokens)
    return StageMemory(
        zero_stage=zero_stage,
        weights_bytes=need.weights,
        gradients_bytes=need.gradients,
        optimizer_bytes=need.optimizer,
        buffers_bytes=need.buffers,
        activations_bytes=need.activations,
        working_bytes=need.working,
        loss_bytes=need.loss,
        step_copies_bytes=need.step_copies,
        micro_batch_bytes=need.micro_batch,
        peak_bytes=need.peak,
        fits=need.peak <= gpus.usable,
        largest_micro_batch_tokens=largest_micro_batch(
            held, zero_stage, gpus.count, gpus.usable, MOST_TOKENS
        ),
    )


def warnings(
    stage: str, config: TrainConfig, held: Trained, gpus: Gpus, tokens: int, use: int | None
) -> list[str]:
    """Return sentences on what keeps a training from running as configured.

    Parameters
    ----------
    stage : str
        Name of its command.
    config : TrainConfig
        Options of the training.
    held : Trained
        Its models.
    gpus : Gpus
        GPUs of its job.
    tokens : int
        Tokens of the largest pass.
    use : int or None
        The lowest ZeRO stage that fits.
    """
    said = []
    if gpus.count > config.global_batch_size:
        said.append(
            f"global_batch_size {config.global_batch_size} is less than {gpus.count} GPUs; "
            f"{stage} will not start"
        )
    if use is None:
        said.append(f"no ZeRO stage fits {tokens:,} tokens; {way_out(held, gpus, tokens)}")
    elif config.zero_stage == 0 and held.bf16:
        said.append(f"zero_stage 0 is for fp32, and GPUs use bf16; set zero_stage {use}")
    elif not fits(held, config.zero_stage, gpus, tokens):
        said.append(f"zero_stage {config.zero_stage} does not fit; set zero_stage {use}")
    return said


def way_out(held: Trained, gpus: Gpus, tokens: int) -> str:
    """Say what would fit if no ZeRO stage does."""
    recomputing = replace(held, checkpointing=1)
    if held.checkpointing != 1:
        fitting = [n for n in STAGES[1:] if fits(recomputing, n, gpus, tokens)]
        if fitting:
            return f"with gradient_checkpointing full, zero_stage {fitting[0]} fits"
    for nodes in range(gpus.nodes + 1, MOST_NODES + 1):
        if fits(recomputing, 3, replace(gpus, nodes=nodes), tokens):
            return f"zero_stage 3 with gradient_checkpointing fits on {nodes * gpus.per_node} GPUs"
    return "more GPUs do not help: use shorter samples (tokenize.max_seq_len), or a smaller model"


def fits(held: Trained, zero_stage: int, gpus: Gpus, tokens: int) -> bool:
    """Return whether a training fits at a ZeRO stage."""
    if zero_stage == 0 and held.bf16:
        return False
    return memory(held, zero_stage, gpus.count, tokens).peak <= gpus.usable


def decided(config: Training, shape: ModelShape, gpus: Gpus, work: Workload) -> Training:
    """Return a section with the values that a job uses where it says auto.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As it is configured.
    shape : ModelShape
        Shape of its models: a pair has one shape.
    gpus : Gpus
        GPUs of its job.
    work : Workload
        The samples.
    """
    if not is_open(config):
        return config
    step = round(config.global_batch_size * work.mean_tokens)
    held = trained(config, shape)
    return fitted(config, held, gpus.count, gpus.usable, work.longest, step)


def trained(config: SftConfig | JointConfig, shape: ModelShape) -> Trained:
    """Return the models of a training: a pair has one shape.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As it is trained. Precision `auto` counts as bf16.
    shape : ModelShape
        Shape of its models.
    """
    second = config.second_model
    weak = None if second is None else shape
    return trained_by(config, shape, weak, second == "frozen", config.precision != "fp32")


def pass_tokens(config: SftConfig | JointConfig, work: Workload) -> int:
    """Return the tokens of the largest pass of a decided section, or of the longest sample.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As :func:`decided` returns it.
    work : Workload
        The samples.
    """
    return max(config.pass_tokens, work.longest)
