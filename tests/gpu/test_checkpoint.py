"""A checkpoint by way of pinned host memory, saved beside the steps that follow it, and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gpu.pairs import LENGTHS, QWEN3_06B, SMALL, batch, take_step

from wmss_cli.bench.models import packed_model
from wmss_cli.bench.step import join_alone
from wmss_cli.core.config import TrainConfig
from wmss_cli.train.checkpoint import Saver, load, newest
from wmss_cli.train.engine import build_engine
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import Ranks

LAYERS = {"num_hidden_layers": 4}


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_training_continues_as_if_it_had_not_been_saved(
    zero_stage: int, rehearsal: bool, tmp_path: Path
) -> None:
    join_alone()
    ranks = Ranks(0, 1)
    sizes = SMALL if rehearsal else QWEN3_06B | LAYERS
    lengths = (20, 12, 30, 2) if rehearsal else LENGTHS
    config = TrainConfig(
        zero_stage=zero_stage,
        precision="fp32" if rehearsal else "bf16",
        gradient_checkpointing="none",
        learning_rate=1e-3,
    )
    pair = WeakStrongPair(packed_model(sizes, seed=0), packed_model(sizes, seed=1), 0.48, "cotrain")
    engine = build_engine(pair, config)
    engine.train()
    given = batch(lengths, sizes["vocab_size"])
    for step in range(2):
        take_step(engine, given, step)
    saver = Saver(engine, tmp_path / "checkpoints", ranks, keep=1)
    saver.begin(2, {})
    # These change the states while they are written.
    expected = [take_step(engine, given, step) for step in (2, 3, 4)]
    assert len(set(expected)) == 3, "it learns"
    saver.finish()
    found = newest(tmp_path / "checkpoints", ranks)
    assert found is not None
    load(engine, found[0], universal=False)
    again = [take_step(engine, given, step) for step in (2, 3, 4)]
    # The backward pass of flash attention adds in no fixed order.
    torch.testing.assert_close(again, expected, rtol=1e-6 if rehearsal else 1e-3, atol=0.0)
    engine.destroy()
