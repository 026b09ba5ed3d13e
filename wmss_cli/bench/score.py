"""Scoring: packed samples and entropies in chunks against one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from wmss_cli.bench.memory import peak_memory
from wmss_cli.bench.models import qwen3, random_model, shape_of
from wmss_cli.bench.results import BenchTable, Ratio, Spread, at_least
from wmss_cli.bench.samples import GSM8K_LENGTHS, write_table
from wmss_cli.bench.timing import MatrixProduct, Rival, alternate, check_equal, compare
from wmss_cli.data.batches import by_length, collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import device
from wmss_cli.models.packed import pack_attention
from wmss_cli.score.entropy import completion_entropy

WMSS, AUTHORS = "wmss", "authors"
_ALLOWED = 1e-5
# Relative to the float64 loop. In 16 bits both ways are off by more, and differ more.
_ALLOWED_NARROW = 2e-2
_MAX_BATCH_TOKENS = 4096

Entropy = NDArray[np.float64]
"""``[samples]``."""


@dataclass(frozen=True)
class ScoreSize:
    """A Qwen3 shape, and the number of samples with GSM8K's lengths."""

    hidden_size: int
    layers: int
    vocab_size: int
    samples: int


TABLE = ScoreSize(512, 8, 151_936, 64)
SMALL = ScoreSize(64, 2, 4096, 8)


def measure(
    size: ScoreSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure rows/s, peak memory and share of the limit; compare values with a float64 loop."""
    table = str(work / f"score-{size.vocab_size}-{size.samples}")
    lengths = _lengths(size)
    write_table(Path(table), lengths, size.vocab_size)
    names = (WMSS, AUTHORS)
    rivals = build(size, table, names)
    shape = shape_of(_config(size))
    model = random_model(_config(size))
    product = MatrixProduct(model.dtype)
    timed = alternate(rivals, rounds, product, on_run)
    allowed = _ALLOWED if model.dtype == torch.float32 else _ALLOWED_NARROW
    exact = _float64_loop(model, TokenTable(Path(table)))
    worst = check_equal(
        "entropy", WMSS, timed.values[WMSS][0]["entropy"], "a float64 loop", exact, allowed
    )
    agreements = [
        compare(timed, "entropy", allowed, WMSS),
        compare(timed, "entropy", allowed, WMSS).model_copy(
            update={"what": "entropy, against a float64 loop", "difference": worst}
        ),
    ]
    small = size == SMALL
    memory = {
        name: peak_memory(build, (size, table), name, on_run, forked=small).peak for name in names
    }
    flops = shape.forward_flops(map(sum, lengths), sum(c for _, c in lengths))
    has_goals = size == TABLE and device().type == "cpu"
    ratios = [
        Ratio(
            quantity="speed",
            name=f"{WMSS} / {AUTHORS}",
            value=timed.ratio(AUTHORS, WMSS),
            goal=at_least(1.8) if has_goals else None,
        ),
        Ratio(
            quantity="limit",
            name=WMSS,
            value=timed.limit(WMSS, flops),
            goal=at_least(0.75) if has_goals else None,
        ),
        Ratio(
            quantity="memory",
            name=f"{WMSS} / {AUTHORS}",
            value=Spread.of([memory[WMSS] / memory[AUTHORS]]),
        ),
    ]
    return [
        BenchTable(
            bench="score",
            title=f"entropy of {size.samples} samples of GSM8K's lengths, Qwen3 shape "
            f"{size.hidden_size} x {size.layers}, vocabulary {size.vocab_size:,}",
            memory="peak of the process",
            entries=timed.entries("rows", size.samples, memory, dict.fromkeys(names, flops)),
            ratios=tuple(ratios),
            rate=timed.rate(product.shape),
            agreements=tuple(agreements),
            sizes=asdict(size),
        )
    ]


def build(size: ScoreSize, table: str, names: Sequence[str]) -> dict[str, Rival]:
    """Make the rivals, with the same model and samples."""
    samples = TokenTable(Path(table))
    model = random_model(_config(size)).eval()
    ways: dict[str, Callable[[], Entropy]] = {
        WMSS: lambda: _packed(model, samples),
        AUTHORS: lambda: _one_by_one(model, samples),
    }
    return {name: Rival(ways[name], read=lambda entropy: {"entropy": entropy}) for name in names}


def _lengths(size: ScoreSize) -> Sequence[tuple[int, int]]:
    return GSM8K_LENGTHS[: size.samples]


def _config(size: ScoreSize) -> dict[str, Any]:
    return qwen3(size.hidden_size, size.layers, size.vocab_size)


def _packed(model: PreTrainedModel, table: TokenTable) -> Entropy:
    """Score as the stage does."""
    pack_attention(model)
    entropy = np.empty(len(table))
    for rows in by_length(table.lengths, np.arange(len(table)), _MAX_BATCH_TOKENS):
        batch = collate(table, rows).to(device())
        entropy[rows] = completion_entropy(model, batch).cpu().numpy()
    return entropy


@torch.inference_mode()
def _one_by_one(model: PreTrainedModel, table: TokenTable) -> Entropy:
    """Score as the authors' code does: one row, all its logits, softmax, log."""
    model.set_attn_implementation("sdpa")
    entropy = np.empty(len(table))
    for row in range(len(table)):
        logits = _logits(model, table, row)
        p = torch.softmax(logits.float(), dim=-1)
        each = -(p * torch.log(p + 1e-12)).sum(dim=-1)
        entropy[row] = float(each[int(table.prompt_lengths[row]) - 1 : -1].mean())
    return entropy


@torch.inference_mode()
def _float64_loop(model: PreTrainedModel, table: TokenTable) -> Entropy:
    """Score in float64 by the bare definition."""
    wide = cast(PreTrainedModel, model.eval().double())
    entropy = np.empty(len(table))
    for row in range(len(table)):
        logits = _logits(wide, table, row)[int(table.prompt_lengths[row]) - 1 : -1]
        log_p = torch.log_softmax(logits, dim=-1)
        entropy[row] = float(-(log_p.exp() * log_p).sum(dim=-1).mean())
    return entropy


def _logits(model: PreTrainedModel, table: TokenTable, row: int) -> torch.Tensor:
    ids = torch.from_numpy(np.asarray(table.input_ids(row), dtype=np.int64))
    return cast(torch.Tensor, cast(Any, model)(ids.unsqueeze(0).to(model.device)).logits[0])
