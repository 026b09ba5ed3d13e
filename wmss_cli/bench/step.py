"""Optimizer steps: a pair, a pair with a frozen weak model, one model, and the authors' way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from deepspeed.runtime.engine import DeepSpeedEngine
from torch import Tensor

from wmss_cli.bench.loss import stacked_cross_entropy
from wmss_cli.bench.memory import peak_memory
from wmss_cli.bench.models import packed_model, qwen3, shape_of, smollm2
from wmss_cli.bench.results import Agreement, BenchTable, Goal, Ratio, Spread, at_least, at_most
from wmss_cli.bench.samples import GSM8K_LENGTHS, Lengths, write_table
from wmss_cli.bench.timing import MatrixProduct, Rival, Timed, Values, alternate, compare
from wmss_cli.core.config import TrainConfig
from wmss_cli.core.launcher_variables import forget_launchers
from wmss_cli.data.batches import BatchPlan, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.heads import Head
from wmss_cli.models.packed import PackedBatch
from wmss_cli.models.shape import train_flops
from wmss_cli.train.engine import build_engine
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

SFT, COTRAINED, FROZEN = "wmss, sft", "wmss, co-trained", "wmss, frozen"
AUTHORS = "authors"
LAMBDA = 0.5
_FULL = 256
# Tokens of a sample for measuring the shape of a single model.


@dataclass(frozen=True)
class StepSize:
    """A Qwen3 shape, and the number of samples with GSM8K's lengths in a step."""

    hidden_size: int
    layers: int
    vocab_size: int
    samples: int


@dataclass(frozen=True)
class ModelSize:
    """SmolLM2-135M's shape with this many layers, and the number of 256-token samples in a step."""

    layers: int
    vocab_size: int
    samples: int


TABLE = StepSize(512, 8, 151_936, 8)
SMALL = StepSize(64, 2, 4096, 4)
MODEL_TABLE = ModelSize(30, 49_152, 4)
MODEL_SMALL = ModelSize(2, 4096, 1)

Size = StepSize | ModelSize


def measure(
    size: StepSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure joint steps of all kinds against a step of a single model."""
    names = (SFT, COTRAINED, FROZEN, AUTHORS)
    timed, memory, rate, flops = _measure(size, names, rounds, on_run, work)
    has_goals = size == TABLE and device().type == "cpu"

    def goal(wanted: Goal) -> Goal | None:
        return wanted if has_goals else None

    tokens = sum(map(sum, lengths_of(size)))
    ratios = [
        Ratio(
            quantity="speed",
            name=f"{COTRAINED} / {AUTHORS}",
            value=timed.ratio(AUTHORS, COTRAINED),
            goal=goal(at_least(1.8)),
        ),
        Ratio(
            quantity="memory",
            name=f"{COTRAINED} / {AUTHORS}",
            value=Spread.of([memory[COTRAINED] / memory[AUTHORS]]),
            goal=goal(at_most(0.8)),
        ),
        Ratio(
            quantity="time",
            name=f"{COTRAINED} / {SFT}",
            value=timed.ratio(COTRAINED, SFT),
            goal=goal(at_most(2.05)),
        ),
        Ratio(
            quantity="time",
            name=f"{FROZEN} / {SFT}",
            value=timed.ratio(FROZEN, SFT),
            goal=goal(at_most(1.40)),
        ),
    ]
    return [
        BenchTable(
            bench="step",
            title=f"an AdamW step on {size.samples} samples of GSM8K's lengths, {tokens:,} tokens, "
            f"Qwen3 shape {size.hidden_size} x {size.layers}, vocabulary {size.vocab_size:,}",
            memory="peak of the process",
            entries=timed.entries("tokens", tokens, memory, flops),
            ratios=tuple(ratios),
            rate=timed.rate(rate.shape),
            agreements=(_agreement(timed),),
            sizes=asdict(size),
        )
    ]


def measure_model(
    size: ModelSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure the share of the matrix-product rate that a step of one model reaches."""
    timed, memory, rate, flops = _measure(size, (SFT,), rounds, on_run, work)
    tokens = size.samples * _FULL
    has_goals = size == MODEL_TABLE and device().type == "cpu"
    share = Ratio(
        quantity="limit",
        name=SFT,
        value=timed.limit(SFT, flops[SFT]),
        goal=at_least(0.75) if has_goals else None,
    )
    return [
        BenchTable(
            bench="step",
            title=f"an AdamW step on {size.samples} samples of {_FULL} tokens, SmolLM2's shape "
            f"with {size.layers} layers",
            memory="peak of the process",
            entries=timed.entries("tokens", tokens, memory, flops),
            ratios=(share,),
            rate=timed.rate(rate.shape),
            sizes=asdict(size),
        )
    ]


def _measure(
    size: Size, names: Sequence[str], rounds: int, on_run: Callable[[], None], work: Path
) -> tuple[Timed, dict[str, int], MatrixProduct, dict[str, int]]:
    lengths = lengths_of(size)
    table = work / f"step-{size.vocab_size}-{len(lengths)}"
    write_table(table, lengths, size.vocab_size)
    product = MatrixProduct(dtype_of("auto"))
    timed = alternate(build(size, str(table), names), rounds, product, on_run)
    arguments = (size, str(table))
    small = size in (SMALL, MODEL_SMALL)
    memory = {
        name: peak_memory(build, arguments, name, on_run, 1, forked=small).peak for name in names
    }
    return timed, memory, product, {name: _flops(size, name) for name in names}


def _agreement(timed: Timed) -> Agreement:
    both = Timed(values={name: timed.values[name] for name in (COTRAINED, AUTHORS)})
    allowed = 1e-5 if dtype_of("auto") == torch.float32 else 2e-2
    return compare(both, "loss", allowed, AUTHORS, relative=True)


def lengths_of(size: Size) -> Lengths:
    """Return prompt and completion of each sample of a size, in tokens."""
    if isinstance(size, StepSize):
        return GSM8K_LENGTHS[: size.samples]
    # A prompt of one token: all other tokens are predicted.
    return ((1, _FULL - 1),) * size.samples


def _model_config(size: Size) -> dict[str, Any]:
    if isinstance(size, StepSize):
        return qwen3(size.hidden_size, size.layers, size.vocab_size)
    return smollm2(size.layers, size.vocab_size)


def _flops(size: Size, name: str) -> int:
    shape = shape_of(_model_config(size))
    lengths = lengths_of(size)
    return train_flops(
        shape,
        None if name == SFT else shape,
        "frozen" if name == FROZEN else "cotrain",
        map(sum, lengths),
        sum(completion for _, completion in lengths),
    )


def build(size: Size, table: str, names: Sequence[str]) -> dict[str, Rival]:
    """Make the rivals: each is an engine of its own with the same weights and samples."""
    join_alone()
    return {name: _rival(size, TokenTable(Path(table)), name) for name in names}


def join_alone() -> None:
    """Make this process the only rank, whatever started it; torch picks a free port."""
    if not dist.is_initialized():
        forget_launchers()
        os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
        join()


def _rival(size: Size, table: TokenTable, name: str) -> Rival:
    shape = _model_config(size)
    strong = packed_model(shape, seed=0)
    weak = None if name == SFT else packed_model(shape, seed=1)
    kind = _AuthorsPair if name == AUTHORS else WeakStrongPair
    pair = kind(
        strong,
        weak,
        1.0 if weak is None else LAMBDA,
        "frozen" if name == FROZEN else "cotrain",
    )
    engine = build_engine(pair, train_config())
    return step_rival(engine, table, 1 if name == AUTHORS else None)


def train_config() -> TrainConfig:
    """Return the options of a step; one process has nothing to shard.

    In bf16 the fp32 weights come from ZeRO.
    """
    return TrainConfig(zero_stage=0 if device().type == "cpu" else 1)


def step_rival(
    engine: DeepSpeedEngine, table: TokenTable, micro_batch_tokens: int | None = None
) -> Rival:
    """Return a step over all samples of a table, packed as training does by default."""
    config = train_config()
    engine.train()
    plan = BatchPlan(
        np.arange(len(table)),
        len(table),
        micro_batch_tokens or config.pass_tokens,
        1.0,
        None,
        config.seed,
    )
    batches = [
        collate(table, rows).to(device()) for rows in plan.micro_batches(0, table.lengths, 0, 1)
    ]
    tokens = float(table.completion_lengths.sum())

    def run() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i, batch in enumerate(batches):
            engine.set_gradient_accumulation_boundary(i == len(batches) - 1)
            loss, logged = engine(batch, tokens)
            engine.backward(loss)
            engine.step()
            total += logged[0].cpu()
        return total / tokens

    def read(loss: Any) -> Values:
        return {"loss": np.array([float(loss)])}

    return Rival(run, read=read)


class _AuthorsPair(WeakStrongPair):
    """Runs all positions of one row through both heads, with the logits stacked and mixed."""

    def forward(
        self,
        batch: PackedBatch,
        denominator: float,
        weak_hidden: Tensor | None = None,
        _step: int = 0,
        look: Callable[[Tensor, Head, Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return what the pair of wmss returns."""
        assert self.weak is not None
        assert weak_hidden is None
        assert look is None
        assert len(batch.lengths) == 1
        ids = batch.input_ids.unsqueeze(0)
        for model in (self.strong, self.weak):
            if model.config._attn_implementation != "sdpa":
                model.set_attn_implementation("sdpa")
        logits = [m(ids, use_cache=False).logits[0] for m in (self.weak, self.strong)]
        # As in transformers: the labels are shifted by one, and the prompt is ignored.
        labels = torch.full_like(batch.input_ids, -100)
        labels[batch.predicting] = batch.targets
        total = stacked_cross_entropy(logits, labels, self.loss.mix_lambda)
        return total / denominator, torch.stack([total.detach().double()] * 2)
