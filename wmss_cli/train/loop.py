"""The training loop: steps, metrics, checkpoints, and a clean end on a signal."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from wmss_cli.core import files
from wmss_cli.core.config import TrainConfig
from wmss_cli.core.errors import InterruptedRunError, NonFiniteLossError
from wmss_cli.core.progress import ProgressWriter
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train import checkpoint
from wmss_cli.train.engine import gradient_norm, set_learning_rate
from wmss_cli.train.meter import TIMING, Meter
from wmss_cli.train.ranks import Ranks, StopFlag
from wmss_cli.train.schedule import learning_rate
from wmss_cli.train.writers import MetricWriters

METRICS_FILE = "metrics.jsonl"
LOGITS_FILE = "logits.jsonl"
CHECKPOINTS = "checkpoints"


def grown_files(folder: Path) -> list[Path]:
    """Return a training's files that grow with its steps; checkpoints contain copies of them."""
    return [folder / METRICS_FILE, folder / LOGITS_FILE]


@dataclass(frozen=True)
class MicroBatch:
    """The input of one forward pass.

    Attributes
    ----------
    batch : PackedBatch
        The batch, on the CPU.
    example_ids : sequence of str
        The ids of its samples.
    weak_hidden : Tensor or None
        ``[completion tokens, hidden]``: the weak model's hidden states, if they were cached.
    """

    batch: PackedBatch
    example_ids: Sequence[str]
    weak_hidden: Tensor | None = None


class Feed(Protocol):
    """The data of a run: a function of the step, so a resume needs only the step."""

    @property
    def steps(self) -> int:
        """Total number of optimizer steps."""

    def completion_tokens(self, step: int) -> int:
        """Return the number of completion tokens in a step's global batch, over all ranks."""

    def lengths(self, step: int) -> Sequence[int]:
        """Return the length of each sample in a step's global batch, without padding."""

    def micro_batches(self, step: int) -> list[MicroBatch]:
        """Return this rank's micro-batches of a step; all ranks have the same number."""


@dataclass
class TrainState:
    """All that a resume needs besides the engine's state.

    The order of the data, the learning rate and the random numbers follow from `step`.
    """

    step: int = 0
    totals: dict[str, float] = field(default_factory=lambda: {"tokens": 0.0, "seconds": 0.0})


def train(
    engine: DeepSpeedEngine,
    feed: Feed,
    config: TrainConfig,
    state: TrainState,
    folder: Path,
    ranks: Ranks,
    writers: MetricWriters | None = None,
    after_step: Callable[[int], None] | None = None,
) -> TrainState:
    """Run all remaining steps.

    Parameters
    ----------
    engine : DeepSpeedEngine
        An engine over a :class:`~wmss_cli.train.pair.WeakStrongPair`.
    feed : Feed
        The data.
    config : TrainConfig
        Learning rate, checkpoints, seed.
    state : TrainState
        Where to start.
    folder : Path
        The folder for ``metrics.jsonl``, ``progress.json`` and ``checkpoints/``.
    ranks : Ranks
        The processes that train together.
    writers : MetricWriters, optional
        Also gets each row of the metrics.
    after_step : callable, optional
        Called on all ranks with the number of steps taken, before a checkpoint contains them, so
        that its output is complete wherever a run continues from.

    Raises
    ------
    NonFiniteLossError
        If the loss or the gradient becomes NaN or infinite. No checkpoint contains that step.
    InterruptedRunError
        On SIGTERM, SIGUSR1 or SIGUSR2, after a checkpoint at the step boundary.
    """
    progress = ProgressWriter(folder, "steps", feed.steps, state.step) if ranks.is_first else None
    _rewind_metrics(folder / METRICS_FILE, state.step, ranks)
    beside = grown_files(folder)
    saver = checkpoint.Saver(engine, folder / CHECKPOINTS, ranks, config.keep_checkpoints, beside)
    clock = SaveClock(config, state.step)

    def save() -> None:
        if clock.saved_at == state.step:
            return
        saver.begin(state.step, state.totals)
        clock.saved(state.step)

    engine.train()
    meter = Meter.start(engine.module, dtype_of(config.precision), feed.steps, ranks)
    with StopFlag() as stop, ranks.strict():
        while state.step < feed.steps:
            ranks.beat(state.step)
            flags = (stop.name is not None, clock.is_due(state.step, ranks), saver.busy)
            stopping, due, writing = ranks.counts(flags)
            if saver.pending and not writing:
                saver.finish()
            if stopping:
                save()
                saver.finish()
                who = stop.name or "a signal"
                raise InterruptedRunError(
                    f"stopped by {who} after step {state.step} of {feed.steps}, "
                    f"all saved; the same command continues"
                )
            if due:
                save()
            try:
                row = _step(engine, feed, config, state, ranks, meter)
            except NonFiniteLossError:
                saver.finish()
                raise
            if progress is not None:
                files.append_json_line(folder / METRICS_FILE, row)
                if writers is not None:
                    writers.write(row)
                shown = {name: row[name] for name in ("loss", *TIMING)}
                progress.update(state.step, **{n: v for n, v in shown.items() if v is not None})
            if after_step is not None:
                after_step(state.step)
        # After the last step, too: if the export fails, only that is repeated.
        save()
        saver.finish()
    return state


class SaveClock:
    """Decides when a checkpoint is due.

    Parameters
    ----------
    config : TrainConfig
        Interval in minutes, steps, or both.
    step : int
        The step of the checkpoint that the training resumes from; 0 if there is none.
    """

    def __init__(self, config: TrainConfig, step: int) -> None:
        self._seconds = None if config.save_every_min is None else 60 * config.save_every_min
        self._steps = config.save_every_steps
        self.saved(step)

    def saved(self, step: int) -> None:
        """Restart the count."""
        self.saved_at = step
        self._since = time.monotonic()

    def is_due(self, step: int, ranks: Ranks) -> bool:
        """Return whether it is time, as this rank sees it; the first rank's clock decides."""
        if self._steps is not None and step > self.saved_at and step % self._steps == 0:
            return True
        late = self._seconds is not None and time.monotonic() - self._since >= self._seconds
        return late and ranks.is_first


def _step(
    engine: DeepSpeedEngine,
    feed: Feed,
    config: TrainConfig,
    state: TrainState,
    ranks: Ranks,
    meter: Meter,
) -> dict[str, float | None]:
    """Take one optimizer step and return its row of metrics."""
    begin = time.monotonic()
    _seed(config.seed, state.step, ranks.rank)
    rate = learning_rate(
        state.step, feed.steps, config.learning_rate, config.warmup_ratio, config.min_lr_ratio
    )
    set_learning_rate(engine, rate)
    tokens = feed.completion_tokens(state.step)
    denominator = tokens / ranks.world_size
    sums: list[Tensor] = []
    batches: list[Sequence[str]] = []
    norm = math.nan
    micro_batches = feed.micro_batches(state.step)
    for i, micro_batch in enumerate(micro_batches):
        ranks.beat()
        at_boundary = i == len(micro_batches) - 1
        engine.set_gradient_accumulation_boundary(at_boundary)
        weak_hidden = micro_batch.weak_hidden
        if weak_hidden is not None:
            weak_hidden = weak_hidden.to(device())
        loss, logged = engine(micro_batch.batch.to(device()), denominator, weak_hidden, state.step)
        engine.backward(loss)
        if at_boundary and engine.zero_optimization_stage() == 0:
            norm = gradient_norm(engine)
        engine.step()
        if at_boundary and engine.zero_optimization_stage() > 0:
            norm = gradient_norm(engine)
        sums.append(logged)
        batches.append(micro_batch.example_ids)
    total, own = (ranks.sum(torch.stack(sums).sum(dim=0)) / tokens).tolist()
    if not math.isfinite(total) or ranks.any(not math.isfinite(norm)):
        _refuse(sums, batches, total, norm, state.step, ranks)
    seconds = time.monotonic() - begin
    lengths = feed.lengths(state.step)
    state.step += 1
    state.totals["tokens"] += sum(lengths)
    state.totals["seconds"] += seconds
    return {
        "step": state.step,
        "loss": total,
        "strong_loss": own,
        "learning_rate": rate,
        "grad_norm": norm,
        "tokens": sum(lengths),
        "completion_tokens": tokens,
        "seconds": round(seconds, 4),
        "tokens_per_s": round(sum(lengths) / seconds, 1),
        **meter.measure(state.step, seconds, lengths, tokens, ranks),
    }


def _seed(seed: int, step: int, rank: int) -> None:
    """Seed all generators from the step, so that a resume repeats dropout to the bit."""
    value = int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def _refuse(
    sums: list[Tensor],
    batches: list[Sequence[str]],
    loss: float,
    norm: float,
    step: int,
    ranks: Ranks,
) -> None:
    guilty = [
        example_id
        for values, ids in zip(sums, batches, strict=True)
        if not bool(torch.isfinite(values).all())
        for example_id in ids
    ]
    ids = [example_id for part in ranks.gather(guilty) for example_id in part]
    if not ids:
        ids = [i for part in ranks.gather([i for b in batches for i in b]) for i in part]
    raise NonFiniteLossError(
        f"step {step + 1}: the loss is {loss}, the gradient norm {norm}, examples "
        f"{', '.join(ids)}; the last checkpoint is kept: lower the learning rate or leave "
        "these examples out"
    )


def _rewind_metrics(path: Path, step: int, ranks: Ranks) -> None:
    """Drop the rows of steps after the checkpoint, since these steps will be taken again."""

    def rewind() -> None:
        if path.exists():
            rows = [row for row in files.read_json_lines(path) if row["step"] <= step]
            files.write_json_lines(path, rows)

    ranks.from_first(rewind)
