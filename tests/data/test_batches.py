"""What a step learns from: the same samples however it is cut, each as often as it was drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from table import make_token_table

from wmss_cli.data.batches import BatchPlan, by_length, collate
from wmss_cli.data.tokens import TokenTable


def make_plan(rows: list[int], global_batch_size: int = 4, **options: object) -> BatchPlan:
    values = {"micro_batch_tokens": 100, "epochs": 1.0, "max_steps": None, "seed": 0} | options
    return BatchPlan(np.array(rows, dtype=np.int64), global_batch_size, **values)  # type: ignore[arg-type]


def drawn(plan: BatchPlan) -> list[int]:
    return [int(row) for step in range(plan.steps) for row in plan.global_batch(step)]


@st.composite
def cut_plans(draw: st.DrawFn) -> tuple[BatchPlan, int]:
    """Return a plan and a world size."""
    world = draw(st.integers(1, 4))
    rows = draw(st.lists(st.integers(0, 20), min_size=1, max_size=40))
    plan = make_plan(
        rows,
        draw(st.integers(world, 16)),
        micro_batch_tokens=draw(st.integers(1, 200)),
        epochs=draw(st.sampled_from([0.5, 1.0, 1.5, 3.0])),
        max_steps=draw(st.none() | st.integers(1, 5)),
        seed=draw(st.integers(0, 3)),
    )
    return plan, world


@given(cut_plans())
def test_ranks_and_micro_batches_share_out_the_global_batch(cut: tuple[BatchPlan, int]) -> None:
    plan, world = cut
    lengths = np.arange(21)[::-1] * 3 + 2
    for step in range(plan.steps):
        shares = [plan.micro_batches(step, lengths, rank, world) for rank in range(world)]
        assert len({len(share) for share in shares}) == 1
        parts = [part for share in shares for part in share]
        everything = Counter(np.concatenate(parts).tolist())
        assert everything == Counter(plan.global_batch(step).tolist())
        for part in parts:
            assert len(part) <= 1 or lengths[part].sum() <= plan.micro_batch_tokens


@given(cut_plans())
def test_the_order_does_not_depend_on_how_it_is_cut(cut: tuple[BatchPlan, int]) -> None:
    plan, _ = cut
    uncut = replace(plan, micro_batch_tokens=1)
    assert [plan.global_batch(s).tolist() for s in range(plan.steps)] == [
        uncut.global_batch(s).tolist() for s in range(uncut.steps)
    ]


@given(cut_plans())
def test_only_the_last_batch_is_short_and_nothing_is_left_out(cut: tuple[BatchPlan, int]) -> None:
    plan, _ = cut
    sizes = [len(plan.global_batch(step)) for step in range(plan.steps)]
    assert set(sizes[:-1]) <= {plan.global_batch_size}
    assert 1 <= sizes[-1] <= plan.global_batch_size
    assert sum(sizes) == plan.samples


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(1, 4), st.integers(1, 9))
def test_every_epoch_draws_each_sample_as_often_as_the_curriculum_did(
    rows: list[int], epochs: int, global_batch_size: int
) -> None:
    everything = drawn(make_plan(rows, global_batch_size, epochs=float(epochs)))
    for epoch in range(epochs):
        one = everything[epoch * len(rows) : (epoch + 1) * len(rows)]
        assert Counter(one) == Counter(rows)


def test_epochs_and_seeds_differ_in_order() -> None:
    rows = list(range(30))
    twice = drawn(make_plan(rows, epochs=2.0))
    assert twice[:30] != twice[30:]
    assert twice[:30] == drawn(make_plan(rows))
    assert drawn(make_plan(rows, seed=1)) != drawn(make_plan(rows, seed=0))
    assert drawn(make_plan(rows)) != rows


def test_a_batch_may_reach_into_the_next_epoch() -> None:
    plan = make_plan([0, 1, 2], 2, epochs=2.0)
    assert plan.steps == 3
    assert Counter(drawn(plan)) == {0: 2, 1: 2, 2: 2}
    assert [plan.last_step(epoch) for epoch in (1, 2)] == [2, 3]


@pytest.mark.parametrize(
    ("epochs", "max_steps", "samples", "steps"),
    [
        (1.0, None, 10, 3),
        (0.5, None, 5, 2),
        (1.5, None, 15, 4),
        (0.01, None, 1, 1),
        (3.0, 2, 8, 2),
        (0.5, 9, 5, 2),
    ],
)
def test_fractions_of_epochs_and_a_limit_of_steps(
    epochs: float, max_steps: int | None, samples: int, steps: int
) -> None:
    plan = make_plan(list(range(10)), 4, epochs=epochs, max_steps=max_steps)
    assert (plan.samples, plan.steps) == (samples, steps)
    assert len(drawn(plan)) == samples


def test_ranks_get_equal_token_counts() -> None:
    lengths = np.array([10, 20, 30, 40, 50, 60, 70, 80])
    plan = make_plan(list(range(8)), 8, micro_batch_tokens=180)
    first, second = (plan.micro_batches(0, lengths, rank, 2) for rank in range(2))
    assert [int(lengths[part].sum()) for part in first] == [180]
    assert [int(lengths[part].sum()) for part in second] == [180]


def test_a_rank_may_be_left_without_a_sample() -> None:
    plan = make_plan([0], 4)
    shares = [plan.micro_batches(0, np.array([5]), rank, 2) for rank in range(2)]
    assert [[part.tolist() for part in share] for share in shares] == [[[0]], [[]]]


# Tensors.


@pytest.fixture(scope="module")
def table(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenTable:
    folder = tmp_path_factory.mktemp("batches") / "tokens"
    return TokenTable(make_token_table(folder, tiny_model, [(3, 4), (1, 2), (5, 1)]))


def test_documents_follow_each_other_and_positions_begin_again(table: TokenTable) -> None:
    batch = collate(table, np.array([1, 0]))
    short, long = table.input_ids(1).tolist(), table.input_ids(0).tolist()
    assert batch.input_ids.tolist() == short + long
    assert batch.position_ids.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6]
    assert batch.lengths == (3, 7)
    tensors = (batch.input_ids, batch.position_ids, batch.predicting, batch.targets)
    assert {tensor.dtype for tensor in tensors} == {torch.int64}


def test_only_the_completion_is_predicted_each_token_by_the_one_before(table: TokenTable) -> None:
    batch = collate(table, np.array([1, 0]))
    assert batch.targets.tolist() == [
        *table.input_ids(1).tolist()[1:],
        *table.input_ids(0).tolist()[3:],
    ]
    assert batch.predicting.tolist() == [0, 1, 5, 6, 7, 8]


def test_nothing_at_all_is_one_token_and_predicts_nothing(table: TokenTable) -> None:
    batch = collate(table, np.array([], dtype=np.int64))
    assert batch.lengths == (1,)
    assert batch.input_ids.shape == batch.position_ids.shape == (1,)
    assert batch.predicting.shape == batch.targets.shape == (0,)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_batches_by_length_hold_every_row_once_within_the_limit(
    lengths: list[int], max_batch_tokens: int
) -> None:
    sizes = np.array(lengths)
    batches = by_length(sizes, np.arange(len(sizes)), max_batch_tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sizes[batch].sum() <= max_batch_tokens
    longest = [sizes[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)
