"""A co-trained step of a pair in Qwen3-0.6B's shape at 8192 tokens: its rate and peak memory."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from gpu.pairs import LENGTHS, QWEN3_06B, SMALL, batch, take_step

from wmss_cli.bench.models import packed_model
from wmss_cli.bench.step import join_alone
from wmss_cli.core.config import TrainConfig
from wmss_cli.core.recomputation import every
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.machine import data_sheet_rate, matrix_product_rate, peak_memory_bytes
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.train.engine import build_engine
from wmss_cli.train.memory import Trained, memory
from wmss_cli.train.pair import WeakStrongPair

STEPS = 5


def finish() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize()


@pytest.mark.parametrize("recomputation", ["none", "full"])
@pytest.mark.parametrize("mode", ["alone", "frozen", "cotrain"])
def test_a_step_beside_the_plan(
    mode: str, recomputation: str, rehearsal: bool, results: Path
) -> None:
    join_alone()
    sizes = SMALL if rehearsal else QWEN3_06B
    lengths = (20, 12, 30, 2) if rehearsal else LENGTHS
    precision = "fp32" if rehearsal else "bf16"
    config = TrainConfig(zero_stage=1, precision=precision, gradient_checkpointing=recomputation)
    shape = ModelShape.of_config(sizes)
    alone, frozen = mode == "alone", mode == "frozen"
    pair = WeakStrongPair(
        packed_model(sizes, seed=0),
        None if alone else packed_model(sizes, seed=1),
        1.0 if alone else 0.48,
        "frozen" if frozen else "cotrain",
    )
    engine = build_engine(pair, config)
    engine.train()
    given = batch(lengths, sizes["vocab_size"])
    if not rehearsal:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for step in range(STEPS):
        finish()
        began = time.perf_counter()
        take_step(engine, given, step)
        finish()
        seconds.append(time.perf_counter() - began)
    peak = peak_memory_bytes(device())
    weak = None if alone else shape
    flops = train_flops(shape, weak, "frozen" if frozen else "cotrain", lengths, len(given.targets))
    rate = flops / sorted(seconds)[STEPS // 2]
    sheet = None if rehearsal else data_sheet_rate(torch.cuda.get_device_name())
    trained = Trained(shape, weak, frozen, not rehearsal, every(recomputation))
    held = memory(trained, 1, 1, sum(lengths))
    found = {
        "seconds": seconds,
        "mfu": None if sheet is None else rate / sheet,
        "share_of_limit": rate / matrix_product_rate(dtype_of(precision), device()),
        "peak_bytes": peak,
        "planned_peak_bytes": held.peak,
    }
    (results / f"step-{mode}-{recomputation}.json").write_text(json.dumps(found))
    engine.destroy()
    if not rehearsal:
        assert peak == pytest.approx(held.peak, rel=0.1)
