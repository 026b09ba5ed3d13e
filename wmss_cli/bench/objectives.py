"""A training step with every objective, next to the co-trained step of the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deepspeed.runtime.engine import DeepSpeedEngine

from wmss_cli.bench.models import packed_model, qwen3, shape_of
from wmss_cli.bench.results import BenchTable, Ratio, at_most
from wmss_cli.bench.samples import write_table
from wmss_cli.bench.step import (
    COTRAINED,
    FROZEN,
    LAMBDA,
    SFT,
    TABLE,
    StepSize,
    join_alone,
    lengths_of,
    step_rival,
    train_config,
)
from wmss_cli.bench.timing import MatrixProduct, Rival, alternate
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.shape import train_flops
from wmss_cli.train.engine import build_engine
from wmss_cli.train.objectives.table import Loss
from wmss_cli.train.pair import WeakStrongPair


@dataclass(frozen=True)
class _Way:
    """A loss, and whether it has a model besides the strong one."""

    loss: Loss
    has_other: bool = False
    neftune_alpha: float = 0.0


_WAYS = {
    SFT: _Way(Loss()),
    "wmss, neftune": _Way(Loss(), neftune_alpha=5.0),
    "wmss, softening": _Way(Loss(mix_lambda=LAMBDA)),
    "wmss, label_smoothing": _Way(Loss("label_smoothing", label_smoothing=0.1)),
    "wmss, undial": _Way(Loss("undial", undial_beta=1.0)),
    FROZEN: _Way(Loss(mix_lambda=LAMBDA), has_other=True),
    "wmss, undial_kd": _Way(Loss("undial_kd", undial_beta=1.0), has_other=True),
    "wmss, shuffled": _Way(Loss("shuffled", LAMBDA), has_other=True),
    "wmss, noise": _Way(Loss("noise", LAMBDA), has_other=True),
}
COUNT = len(_WAYS) + 1


def measure(
    size: StepSize, rounds: int, on_run: Callable[[], None], work: Path
) -> list[BenchTable]:
    """Measure the time of a step with each objective; more than 1.1 x co-trained is too slow."""
    lengths = lengths_of(size)
    table = write_table(work / f"step-{size.vocab_size}-{len(lengths)}", lengths, size.vocab_size)
    config = qwen3(size.hidden_size, size.layers, size.vocab_size)
    join_alone()

    def engine_of(has_other: bool, weak_mode: str) -> DeepSpeedEngine:
        pair = WeakStrongPair(
            packed_model(config, seed=0),
            packed_model(config, seed=1) if has_other else None,
            LAMBDA if has_other else 1.0,
            "cotrain" if weak_mode == "cotrain" else "frozen",
        )
        return build_engine(pair, train_config())

    # Objectives share models, since each model would need an optimizer of its own.
    engines = {has_other: engine_of(has_other, "frozen") for has_other in (False, True)}
    rivals = {COTRAINED: step_rival(engine_of(True, "cotrain"), table)}
    for name, way in _WAYS.items():
        rivals[name] = _switched(step_rival(engines[way.has_other], table), engines, way)
    product = MatrixProduct(dtype_of("auto"))
    timed = alternate(rivals, rounds, product, on_run)
    has_goals = size == TABLE and device().type == "cpu"
    shape = shape_of(config)
    tokens = [sum(pair) for pair in lengths]
    completion = sum(length for _, length in lengths)
    flops = {
        name: train_flops(
            shape,
            shape if name == COTRAINED or _WAYS[name].has_other else None,
            "cotrain" if name == COTRAINED else "frozen",
            tokens,
            completion,
        )
        for name in rivals
    }
    ratios = [
        Ratio(
            quantity="time",
            name=f"{name} / {other}",
            value=timed.ratio(name, other),
            goal=at_most(1.1) if has_goals else None,
        )
        for name, way in _WAYS.items()
        for other in ((COTRAINED,) if way.has_other or name == SFT else (COTRAINED, SFT))
    ]
    return [
        BenchTable(
            bench="step",
            title=f"a step of each objective on {size.samples} samples of GSM8K's lengths, "
            f"{sum(tokens):,} tokens, Qwen3 shape {size.hidden_size} x {size.layers}, vocabulary "
            f"{size.vocab_size:,}",
            entries=timed.entries("tokens", sum(tokens), {}, flops),
            ratios=tuple(ratios),
            rate=timed.rate(product.shape),
            sizes=asdict(size),
        )
    ]


def _switched(rival: Rival, engines: dict[bool, DeepSpeedEngine], way: _Way) -> Rival:
    """Make the engine minimise the loss of a way before each run."""

    def before() -> None:
        pair = engines[way.has_other].module
        pair.loss = way.loss
        pair.neftune_alpha = way.neftune_alpha

    return replace(rival, before=before)
