"""What auto means on this machine: by arithmetic, and then by trying one pass.

A memory error within a step cannot be caught: from ZeRO 2 on, the other ranks are then waiting in
a collective. So the longest pass runs once over the bare pair, before DeepSpeed has it and without
collectives: forward, and backward to the embeddings. That uses all the memory of a step except for
the weights' gradients and the states, which are known by arithmetic. Ranks agree afterwards. The
decision is kept with the checkpoints, so that a resume divides its batches the same way.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from wmss_cli.core import files
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.recomputation import every
from wmss_cli.core.training_config import MICRO_BATCH_TOKENS
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.train.engine import place
from wmss_cli.train.fitting import USABLE, Training, chosen, fitted, is_open, rounded, trained_by
from wmss_cli.train.loop import MicroBatch
from wmss_cli.train.memory import Trained, largest_trial, memory
from wmss_cli.train.meter import StepCost
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks

_FILE = "passes.json"


class Sized(Protocol):
    """What is needed of the data before it is divided into passes; the same on all ranks."""

    @property
    def longest_sample(self) -> int:
        """Number of tokens of the longest sample."""

    @property
    def step_tokens(self) -> int:
        """Number of tokens of the fullest step, over all ranks."""

    def longest_pass(self, tokens: int) -> MicroBatch:
        """Return a pass of about this many tokens."""


class Passes(BaseModel):
    """The decision, as it is stored."""

    model_config = ConfigDict(frozen=True)

    micro_batch_tokens: int
    gradient_checkpointing: str
    world_size: int


def decide(
    config: Training,
    pair: WeakStrongPair,
    feed: Sized,
    ranks: Ranks,
    folder: Path,
) -> Training:
    """Return the section with numbers instead of auto, the same on all ranks.

    Parameters
    ----------
    config : TrainConfig
        The section of the stage. Without auto it is returned as it is.
    pair : WeakStrongPair
        The pair, whole and not yet in an engine; it is moved to its device.
    feed : Sized
        The data of the training, however they are divided.
    ranks : Ranks
        All of them must call this.
    folder : Path
        The folder of checkpoints: a decision stored there is reused by the same number of ranks.
    """
    if not is_open(config):
        return config
    kept: Passes | None = ranks.from_first(lambda: _read(folder / _FILE))
    if kept is not None and kept.world_size == ranks.world_size:
        return chosen(config, kept.micro_batch_tokens, kept.gradient_checkpointing)
    usable, trained = _usable_bytes(ranks), _trained(config, pair)
    if usable is None or trained is None:
        why = "on a CPU" if usable is None else "for models whose sizes wmss cannot count"
        found = chosen(config, MICRO_BATCH_TOKENS, "none" if usable is None else "full")
    else:
        why = f"for {usable / 1e9:.1f} GB"
        step_tokens = ranks.from_first(lambda: feed.step_tokens)
        found = fitted(config, trained, ranks.world_size, usable, feed.longest_sample, step_tokens)
    place(pair, found)
    if ranks.any(not fits(found, pair, feed, ranks.world_size, trained, usable)):
        why = f"a pass of {found.pass_tokens} tokens was tried and does not fit ({why})"
        found = chosen(config, max(1, rounded(found.pass_tokens // 2, feed.longest_sample)), "full")
        place(pair, found)
    decided = Passes(
        micro_batch_tokens=found.pass_tokens,
        gradient_checkpointing=found.gradient_checkpointing,
        world_size=ranks.world_size,
    )
    if ranks.is_first:
        folder.mkdir(exist_ok=True)
        files.write_json(folder / _FILE, decided.model_dump())
        said = f"micro_batch_tokens {decided.micro_batch_tokens}, gradient_checkpointing "
        print(f"{said}{decided.gradient_checkpointing}: {why}", flush=True)  # noqa: T201
    ranks.barrier()
    return found


def fits(
    config: Training,
    pair: WeakStrongPair,
    feed: Sized,
    world_size: int,
    trained: Trained | None,
    usable: int | None,
) -> bool:
    """Try the longest pass; if sizes are known, add what a step needs besides."""
    tokens = config.pass_tokens
    if trained is None or usable is None:
        return pass_bytes(pair, feed.longest_pass(tokens)) is not None
    trained = replace(trained, checkpointing=every(config.gradient_checkpointing))
    # All weights are whole here, which they never are at ZeRO 3: next to them a shorter pass fits.
    tried = largest_trial(trained, usable, tokens)
    if tried < feed.longest_sample:
        return True
    needed = pass_bytes(pair, feed.longest_pass(tried))
    held = memory(trained, config.zero_stage, world_size, tokens)
    return needed is not None and (
        held.state + max(needed * tokens // tried, held.step_copies) <= usable
    )


def pass_bytes(pair: WeakStrongPair, micro_batch: MicroBatch) -> int | None:
    """Run a pass as in a step, and return the peak of its memory in bytes, or None if it ran out.

    Parameters
    ----------
    pair : WeakStrongPair
        A pair on its device, not in an engine. Neither its weights nor their gradients change.
    micro_batch : MicroBatch
        The micro-batch, on the CPU.
    """
    embedded: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        embedded.append(output)

    learners = [pair.strong] if pair.weak is None or pair.weak_frozen else [pair.strong, pair.weak]
    hooks = [model.get_input_embeddings().register_forward_hook(keep) for model in learners]
    pair.train()
    begin = _start_of_peak()
    try:
        weak_hidden = micro_batch.weak_hidden
        if weak_hidden is not None:
            weak_hidden = weak_hidden.to(device())
        loss, _ = pair(micro_batch.batch.to(device()), 1.0, weak_hidden)
        torch.autograd.grad(loss, embedded, allow_unused=True)
    except torch.OutOfMemoryError:
        return None
    else:
        return _peak() - begin
    finally:
        for hook in hooks:
            hook.remove()
        embedded.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _start_of_peak() -> int:
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def _usable_bytes(ranks: Ranks) -> int | None:
    """Return the bytes of the GPU with the least memory for us; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    # Half of the margin if other processes use some of it.
    mine = min(USABLE * total, free - (1 - USABLE) / 2 * total)
    return int(-ranks.largest(-mine))


def _trained(config: Training, pair: WeakStrongPair) -> Trained | None:
    try:
        cost = StepCost.of_pair(pair)
    except ConfigError:
        return None
    bf16 = dtype_of(config.precision) == torch.bfloat16
    return trained_by(config, cost.strong, cost.weak, pair.weak_frozen, bf16)


def _read(path: Path) -> Passes | None:
    try:
        return Passes.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError):
        return None
