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

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import IGNORE_INDEX
from wmss_cli.data.batches import FILLER, BatchPlan, by_length, collate
from wmss_cli.data.tokens import TokenTable


def make_plan(rows: list[int], global_batch_size: int = 4, **options: object) -> BatchPlan:
    values = {"micro_batch_size": 1, "epochs": 1.0, "max_steps": None, "seed": 0} | options
    return BatchPlan(np.array(rows, dtype=np.int64), global_batch_size, **values)  # type: ignore[arg-type]


def drawn(plan: BatchPlan) -> list[int]:
    return [int(row) for step in range(plan.steps) for row in plan.global_batch(step)]


@st.composite
def cut_plans(draw: st.DrawFn) -> tuple[BatchPlan, int]:
    """Return a plan and a world size that its batches can be cut into."""
    micro, world, accumulation = (draw(st.integers(1, 4)) for _ in range(3))
    rows = draw(st.lists(st.integers(0, 20), min_size=1, max_size=40))
    plan = make_plan(
        rows,
        micro * world * accumulation,
        micro_batch_size=micro,
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
        assert {len(share) for share in shares} == {plan.accumulation_steps(world)}
        parts = [part for share in shares for part in share]
        assert {len(part) for part in parts} == {plan.micro_batch_size}
        batch = plan.global_batch(step)
        everything = Counter(np.concatenate(parts).tolist())
        assert everything.pop(FILLER, 0) == plan.global_batch_size - len(batch)
        assert everything == Counter(batch.tolist())


@given(cut_plans())
def test_the_order_does_not_depend_on_how_it_is_cut(cut: tuple[BatchPlan, int]) -> None:
    plan, _ = cut
    uncut = replace(plan, micro_batch_size=1)
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


def test_samples_of_like_length_meet_and_every_rank_gets_a_long_one() -> None:
    lengths = np.array([10, 20, 30, 40, 50, 60, 70, 80])
    plan = make_plan(list(range(8)), 8, micro_batch_size=2)
    first, second = (plan.micro_batches(0, lengths, rank, 2) for rank in range(2))
    assert [lengths[part].tolist() for part in first] == [[80, 60], [40, 20]]
    assert [lengths[part].tolist() for part in second] == [[70, 50], [30, 10]]


def test_a_batch_that_cannot_be_cut_evenly_is_refused() -> None:
    plan = make_plan(list(range(8)), 6, micro_batch_size=2)
    assert plan.accumulation_steps(3) == 1
    with pytest.raises(ConfigError, match="6 is not a multiple of micro_batch_size 2 x 2 proc"):
        plan.micro_batches(0, np.ones(8, dtype=np.int64), 0, 2)


# Tensors.


@pytest.fixture(scope="module")
def table(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenTable:
    folder = tmp_path_factory.mktemp("batches") / "tokens"
    return TokenTable(make_token_table(folder, tiny_model, [(3, 4), (1, 2), (5, 1)]))


def test_labels_are_the_completion_and_nothing_else(table: TokenTable) -> None:
    batch = collate(table, np.array([1, 0]), pad_token_id=319)
    short, long = table.input_ids(1).tolist(), table.input_ids(0).tolist()
    no = IGNORE_INDEX
    assert batch["input_ids"].tolist() == [short + [319] * 4, long]
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 4, [1] * 7]
    assert batch["labels"].tolist() == [[no, *short[1:], *[no] * 4], [no, no, no, *long[3:]]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_a_filler_has_no_label_and_one_visible_token(table: TokenTable) -> None:
    batch = collate(table, np.array([1, FILLER]), pad_token_id=319)
    assert batch["input_ids"][1].tolist() == [319] * 3
    assert batch["attention_mask"][1].tolist() == [1, 0, 0]
    assert batch["labels"][1].tolist() == [IGNORE_INDEX] * 3
    alone = collate(table, np.array([FILLER]), pad_token_id=319)
    assert alone["labels"].tolist() == [[IGNORE_INDEX] * 2]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_batches_by_length_hold_every_row_once_within_the_limit(
    lengths: list[int], max_batch_tokens: int
) -> None:
    sizes = np.array(lengths)
    batches = by_length(sizes, np.arange(len(sizes)), max_batch_tokens)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= max_batch_tokens
    longest = [sizes[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)
