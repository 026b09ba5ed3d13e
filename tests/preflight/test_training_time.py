"""The time of a training: passes, the fullest rank, communication, checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmss_cli.core.config import JointConfig
from wmss_cli.data.batches import BatchPlan
from wmss_cli.models.published import shape_of
from wmss_cli.preflight.costs import Passes, training
from wmss_cli.preflight.inputs import RATES, Gpus
from wmss_cli.preflight.memory import trained
from wmss_cli.preflight.training_time import (
    TrainingTime,
    packing,
    pass_seconds,
    saving_seconds,
    step_seconds,
    training_time,
)
from wmss_cli.preflight.workload import Workload, spread

SHAPE, _ = shape_of("Qwen/Qwen3-4B-Base")
NODE = Gpus(nodes=1, per_node=8, mem_gb=80, tflops=989)
WORK = Workload(20_000, spread(4096, 8192), 3840, 8192, "options")
PARAMETERS = SHAPE.parameters


def pair(**options: Any) -> Any:
    return trained(JointConfig(**options), SHAPE)


def time_of(gpus: Gpus = NODE, work: Workload = WORK, **options: Any) -> TrainingTime:
    config = JointConfig(
        **{"zero_stage": 2, "gradient_checkpointing": True, "global_batch_size": 128, **options}
    )
    needed = training(config, Passes.of(SHAPE, work), work.samples)
    return training_time(config, trained(config, SHAPE), needed, gpus, work, RATES)


# Passes.


def test_passes_are_those_that_training_packs() -> None:
    lengths = np.array(WORK.lengths * 8)
    found = packing(WORK, 128, 8192, 64)
    plan = BatchPlan(np.arange(len(lengths)), 128, 8192, 1.0, None, seed=3)
    passes, balance = [], []
    for step in range(plan.steps):
        ranks = [plan.micro_batches(step, lengths, rank, 64) for rank in range(64)]
        passes.append(len(ranks[0]))
        tokens = np.array([[lengths[rows].sum() for rows in rank] for rank in ranks])
        balance.append(tokens.sum() / (64 * tokens.max(axis=0).sum()))
    assert found.passes == pytest.approx(np.mean(passes), rel=0.1)
    assert found.balance == pytest.approx(np.mean(balance), rel=0.1)


def test_on_many_ranks_passes_are_rounded_up() -> None:
    few, many = packing(WORK, 128, 8192, 8), packing(WORK, 128, 8192, 64)
    assert 8 * few.passes < 64 * many.passes
    assert many.balance < few.balance <= 1
    wide = packing(WORK, 128, 16384, 64)
    assert wide.passes == 1
    assert wide.balance > many.balance


def test_equal_samples_fill_equal_passes() -> None:
    even = Workload(1000, [4096], 3840, 8192, "options")
    assert packing(even, 128, 8192, 8) == packing(even, 128, 8192, 8)
    assert (packing(even, 128, 8192, 8).passes, packing(even, 128, 8192, 8).balance) == (8, 1)


def test_a_step_larger_than_what_is_drawn_has_as_many_more_passes() -> None:
    one, four = packing(WORK, 4096, 65536, 8), packing(WORK, 16384, 65536, 8)
    assert four.passes == 4 * one.passes


def test_ranks_wait_for_the_fullest_one() -> None:
    found = time_of()
    assert found.waiting == pytest.approx(found.computing * (1 / found.packing.balance - 1))


# Communication.


def test_what_is_exchanged_by_hand() -> None:
    # Both models in bf16; seven of eight shares go over NVLink, at 80 % of 200 GB/s.
    one = 2 * 2 * PARAMETERS * 7 / 8 / 160e9
    held = pair()
    assert pass_seconds(held, 1, NODE) == 0
    assert step_seconds(held, 1, NODE) == pytest.approx(3 * one)
    assert pass_seconds(held, 2, NODE) == pytest.approx(2 * one)
    assert step_seconds(held, 2, NODE) == pytest.approx(one)
    assert pass_seconds(held, 3, NODE) == pytest.approx(3 * one)
    assert step_seconds(held, 3, NODE) == 0
    # A frozen model is gathered once; it has half of the weights.
    assert pass_seconds(pair(weak_mode="frozen"), 3, NODE) == pytest.approx(2 * one)


def test_the_slower_of_both_networks_counts_between_nodes() -> None:
    held = pair()
    within = pass_seconds(held, 2, Gpus(1, 16, 80, 989))
    assert pass_seconds(held, 2, Gpus(2, 8, 80, 989, network_gb_per_s=400)) == within
    slow = pass_seconds(held, 2, Gpus(2, 8, 80, 989, network_gb_per_s=50))
    assert slow == pytest.approx(4 * within)
    assert pass_seconds(held, 3, Gpus(1, 1, 80, 989)) == 0


def test_products_hide_a_part_of_what_is_exchanged() -> None:
    found = time_of(zero_stage=3)
    held = pair(zero_stage=3)
    steps = -(-WORK.samples // 128)
    exchanged = steps * found.packing.passes * pass_seconds(held, 3, NODE)
    assert found.communication == pytest.approx(0.3 * exchanged)
    # Where there are hardly any products, nothing hides.
    slow = Gpus(1, 8, 80, 989, link_gb_per_s=2)
    bound = time_of(slow, zero_stage=3)
    exchanged = steps * bound.packing.passes * pass_seconds(held, 3, slow)
    assert bound.communication == pytest.approx(exchanged - bound.computing)


def test_longer_passes_exchange_less() -> None:
    short, long = time_of(), time_of(micro_batch_tokens=32768)
    assert long.communication < short.communication / 2
    assert long.mfu > short.mfu


# Checkpoints.


def test_a_checkpoint_costs_its_copy_and_the_models_their_writing() -> None:
    config = JointConfig(zero_stage=2, save_every_min=None, save_every_steps=10)
    held = pair(zero_stage=2)
    size, models = 14 * 2 * PARAMETERS, 2 * 2 * PARAMETERS
    found = saving_seconds(config, held, NODE, steps=100, seconds=100_000)
    assert found == pytest.approx(10 * size / 8 / 10e9 + models / 1e9)


def test_a_disk_that_is_too_slow_is_waited_for() -> None:
    config = JointConfig(zero_stage=2, save_every_min=None, save_every_steps=10)
    size = 14 * 2 * PARAMETERS
    found = saving_seconds(config, pair(zero_stage=2), NODE, steps=100, seconds=100)
    assert found >= 10 * (size / 1e9 - 10)


def test_checkpoints_by_time_are_as_many_as_there_are_half_hours() -> None:
    config = JointConfig(zero_stage=2)
    size, models = 14 * 2 * PARAMETERS, 2 * 2 * PARAMETERS
    found = saving_seconds(config, pair(zero_stage=2), NODE, steps=100, seconds=6 * 3600)
    assert found == pytest.approx(12 * size / 8 / 10e9 + models / 1e9)
