"""FLOPs of trainings, and as many steps as another training's FLOPs buy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from table import make_token_table

from wmss_cli.data.batches import BatchPlan
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.shape import ModelShape, train_flops
from wmss_cli.stages.training_flops import match_flops, plan_flops, sample_flops
from wmss_cli.train.meter import StepCost


def plan(rows: list[int], size: int, epochs: float, seed: int = 0) -> BatchPlan:
    return BatchPlan(np.array(rows), size, 100, epochs, None, seed)


def test_a_plan_costs_what_its_documents_cost_together(tiny_model: Path, tmp_path: Path) -> None:
    shapes = [(3, 4), (1, 2), (5, 11), (3, 4)]
    table = TokenTable(make_token_table(tmp_path / "tokens", tiny_model, shapes))
    shape = ModelShape.of_folder(tiny_model)
    flops = sample_flops(StepCost(shape, shape, "cotrain"), table)
    # Both epochs, row 2 three times in each.
    drawn = [7, 3, 16, 16, 16] * 2
    expected = train_flops(shape, shape, "cotrain", drawn, 2 * (4 + 2 + 3 * 11))
    assert plan_flops(plan([0, 1, 2, 2, 2], 2, 2.0), flops) == expected


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(10**14, 10**15), min_size=1, max_size=10),
    st.lists(st.integers(0, 29), min_size=1, max_size=15),
    st.floats(1.0, 2.2),
    st.integers(1, 9),
    st.sampled_from([0.3, 1.0, 2.0]),
)
def test_matched_flops_are_within_one_step(
    own: list[int], active: list[int], factor: float, size: int, epochs: float
) -> None:
    flops = np.array(own)
    joint = (flops * factor).astype(np.int64)
    other = plan([row % len(own) for row in active], size, epochs)
    matched, wanted = match_flops(plan(list(range(len(own))), size, epochs), flops, other, joint)
    assert wanted == plan_flops(other, joint)
    steps = [int(flops[matched.global_batch(s)].sum()) for s in range(matched.steps)]
    assert plan_flops(matched, flops) == sum(steps)
    following = plan(list(range(len(own))), size, 1000.0).global_batch(matched.steps)
    largest = max(steps[-1], int(flops[following].sum()))
    assert matched.steps == 1 or abs(sum(steps) - wanted) <= largest / 2
    assert {len(matched.global_batch(s)) for s in range(matched.steps)} == {size}


def test_a_matched_training_goes_through_all_samples_in_its_own_order() -> None:
    flops = np.full(10, 100)
    matched, _ = match_flops(
        plan(list(range(10)), 5, 1.0), flops, plan([1] * 10, 5, 2.0), 2 * flops
    )
    assert matched.steps == 8
    drawn = [int(row) for step in range(8) for row in matched.global_batch(step)]
    assert Counter(drawn) == dict.fromkeys(range(10), 4)
    usual = plan(list(range(10)), 5, 4.0)
    assert drawn == [int(row) for step in range(8) for row in usual.global_batch(step)]
