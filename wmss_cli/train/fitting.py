"""The length of a pass, and which blocks are recomputed, if the options say auto.

By the arithmetic of :mod:`wmss_cli.train.memory`, without torch: jobs use what `wmss plan` shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from wmss_cli.core.config import TrainConfig
from wmss_cli.core.deepspeed_section import offloads
from wmss_cli.core.recomputation import MOST, every, mode_of
from wmss_cli.models.shape import ModelShape
from wmss_cli.train.memory import Trained, largest_micro_batch, memory

Training = TypeVar("Training", bound=TrainConfig)

USABLE = 0.9
"""Share of a GPU's memory to plan with: CUDA, NCCL and fragmentation take the rest."""
MOST_TOKENS = 65_536
"""Longer passes gain next to nothing, and were not tried."""
ROUND = 1024
"""The number of tokens of a pass is a multiple of this."""


def is_open(config: TrainConfig) -> bool:
    """Return whether an option is auto and depends on the memory of a GPU."""
    return "auto" in (config.micro_batch_tokens, config.gradient_checkpointing)


def trained_by(
    config: TrainConfig,
    strong: ModelShape,
    weak: ModelShape | None,
    weak_frozen: bool,
    bf16: bool,
) -> Trained:
    """Return what an engine keeps in memory with the options of a section.

    Parameters
    ----------
    config : TrainConfig
        If recomputation is auto, it counts as full.
    strong, weak, weak_frozen, bf16
        As in :class:`~wmss_cli.train.memory.Trained`.
    """
    mode = config.gradient_checkpointing
    zero = config.deepspeed.get("zero_optimization", {})
    return Trained(
        strong,
        weak,
        weak_frozen,
        bf16,
        every("full" if mode == "auto" else mode),
        offloads(config.deepspeed, "offload_optimizer"),
        offloads(config.deepspeed, "offload_param"),
        zero.get("reduce_bucket_size"),
        zero.get("stage3_max_live_parameters"),
    )


def fitted(
    config: Training,
    trained: Trained,
    world_size: int,
    usable: int,
    longest: int,
    step_tokens: int,
) -> Training:
    """Return the section with numbers instead of auto.

    Parameters
    ----------
    config : TrainConfig
        The section of the stage.
    trained : Trained
        From :func:`trained_by`.
    world_size : int
        Number of GPUs.
    usable : int
        Memory of a GPU, in bytes.
    longest : int
        Number of tokens of the longest sample, which gets a pass even if it does not fit.
    step_tokens : int
        Number of tokens of the fullest step over all GPUs: a pass is at most a GPU's share of it.
    """
    # ZeRO 0 is refused in bf16, so nothing depends on what is decided for it.
    zero_stage = max(config.zero_stage, int(trained.bf16))
    tokens = config.micro_batch_tokens
    if tokens == "auto":
        fitting = largest_micro_batch(trained, zero_stage, world_size, usable, MOST_TOKENS)
        # However samples are packed, a GPU gets at most one more than its share.
        part = step_tokens // world_size + longest
        tokens = min(rounded(fitting, longest), -(-part // ROUND) * ROUND)
    mode = config.gradient_checkpointing
    if mode == "auto":
        needed = max(int(tokens), longest)
        modes = (
            n
            for n in _fewest_first(trained)
            if memory(replace(trained, checkpointing=n), zero_stage, world_size, needed).peak
            <= usable
        )
        mode = mode_of(next(modes, 1))
    return chosen(config, int(tokens), mode)


def rounded(tokens: int, longest: int) -> int:
    """Round down to a multiple of 1,024, but not below the longest sample."""
    return max(longest, tokens // ROUND * ROUND)


def chosen(config: Training, tokens: int, mode: str) -> Training:
    """Return the section with the decisions in place of auto.

    Parameters
    ----------
    config : TrainConfig
        The section of the stage.
    tokens : int
        Number of tokens of a pass.
    mode : str
        The mode of recomputation.
    """
    decided = {"micro_batch_tokens": tokens, "gradient_checkpointing": mode}
    return config.model_copy(
        update={name: value for name, value in decided.items() if getattr(config, name) == "auto"}
    )


def _fewest_first(trained: Trained) -> Iterator[int]:
    """Yield the modes of recomputation, from no block to all blocks."""
    yield 0
    most = min(MOST, max(model.layers for model in trained.learners))
    yield from range(most, 0, -1)
