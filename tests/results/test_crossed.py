"""Several seeds on the same problems: what is estimated, and that intervals hold their level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import t as student

from wmss_cli.results.crossed import Floats, difference, estimate, parts, score_interval
from wmss_cli.results.statistics import paired_difference, wilson_interval

STUDIES = 4_000


def answers(seeds: int, problems: int, accuracy: float, seed: int) -> Floats:
    """Draw single answers, right or wrong."""
    rng = np.random.default_rng(seed)
    return (rng.random((seeds, problems)) < accuracy).astype(np.float64)


def test_the_parts_are_those_of_the_analysis_of_variance() -> None:
    scores = np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    found = parts({"sums": scores}, differences=True)
    # Means of the seeds are 2/3 and 1/3, of the problems 1/2, 0 and 1.
    assert found.seeds == pytest.approx((1 / 18) / 2)
    # The effective number of problems with a score is (1/4 + 1)² / (1/16 + 1).
    assert found.problems == pytest.approx((1 / 4) / 3 * (1 + 0.25 * (17 / 16) / (25 / 16)))
    # What is left is ±1/6, ±1/6 and 1/3 less than one half, twice.
    left = np.array([[1 / 3, -1 / 6, -1 / 6], [-1 / 3, 1 / 6, 1 / 6]])
    assert found.residual == pytest.approx((left**2).sum() / 2 / 6)
    assert found.problems_df == pytest.approx(2.0)


def test_a_task_counts_as_one_whatever_its_size() -> None:
    large, small = np.ones((2, 300)), np.zeros((2, 30))
    found = estimate({"large": large, "small": small})
    assert found.mean == 0.5
    assert (found.problems, found.seeds, found.covers_seeds) == (330, 2, True)
    assert difference({"a": small, "b": large}, {"a": small + 0.5, "b": large}).mean == 0.25


def test_one_seed_is_what_one_evaluation_says() -> None:
    first, second = answers(1, 80, 0.4, 0), answers(1, 80, 0.6, 1)
    alone = estimate({"sums": first})
    assert not alone.covers_seeds
    assert (alone.low, alone.high) == wilson_interval(int(first.sum()), 80)

    found, expected = (
        difference({"sums": first}, {"sums": second}),
        paired_difference(*first, *second),
    )
    assert not found.covers_seeds
    assert (found.mean, found.p) == (pytest.approx(expected.mean), expected.p)
    assert (found.low, found.high) == (expected.low, expected.high)


def test_what_no_seed_decides_is_compared_with_every_seed() -> None:
    base, arm = answers(1, 50, 0.3, 0), answers(3, 50, 0.6, 1)
    found = difference({"sums": base}, {"sums": arm})
    assert found == difference({"sums": np.repeat(base, 3, axis=0)}, {"sums": arm})
    assert (found.seeds, found.covers_seeds, found.seeds_won) == (3, True, 3)


def test_seeds_are_paired_in_their_order() -> None:
    first = np.array([[0.1] * 40, [0.5] * 40, [0.9] * 40])
    steady = difference({"sums": first}, {"sums": first + 0.05})
    mixed = difference({"sums": first}, {"sums": first[[1, 2, 0]] + 0.05})
    assert (steady.seeds_won, steady.seeds_lost) == (3, 0)
    assert (mixed.seeds_won, mixed.seeds_lost) == (2, 1)
    assert steady.mean == pytest.approx(mixed.mean)
    assert steady.p < 0.001 < 0.5 < mixed.p


def test_where_only_seeds_differ_the_interval_is_that_of_their_means() -> None:
    means = np.array([0.4, 0.5, 0.75])
    found = difference({"sums": np.zeros((1, 500))}, {"sums": np.repeat(means[:, None], 500, 1)})
    error = means.std(ddof=1) / np.sqrt(3)
    half = student.ppf(0.975, 2) * error
    # Problems do not differ here, and there are many of them.
    assert found.standard_error == pytest.approx(error, rel=1e-3)
    ends = means.mean() - half, means.mean() + half
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-3)
    assert found.df == pytest.approx(2.0, rel=1e-3)
    assert found.p == pytest.approx(2 * student.sf(means.mean() / error, 2), rel=1e-3)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_certain(right: float) -> None:
    found = estimate({"sums": np.full((3, 30), right)})
    assert (found.low, found.high)[int(right)] == right
    assert 0.05 < found.high - found.low < 0.2
    same = difference({"sums": np.full((3, 30), right)}, {"sums": np.full((3, 30), right)})
    assert same.low < 0.0 < same.high
    assert same.p == 1.0


@pytest.mark.parametrize("gain", [1.0, 1 / 3])
def test_the_same_difference_everywhere_is_not_certain(gain: float) -> None:
    worse, better = {"sums": np.zeros((3, 2))}, {"sums": np.full((3, 2), gain)}
    found = difference(worse, better)
    assert found.low < 0.0
    assert found.p > 0.1


def test_one_problem_says_next_to_nothing() -> None:
    found = estimate({"sums": np.array([[1.0], [0.0]])})
    assert (found.low, found.high) == pytest.approx((0.1, 0.9), abs=0.1)


@given(st.integers(2, 5), st.integers(2, 60), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_p_and_interval_agree_and_sides_can_be_swapped(
    seeds: int, problems: int, accuracy: float, seed: int
) -> None:
    first, second = (
        answers(seeds, problems, 0.5, seed),
        answers(seeds, problems, accuracy, seed + 1),
    )
    found = difference({"sums": first}, {"sums": second})
    # At a step of the width p is the level of the step, to the last bits.
    assume(abs(found.p - 0.05) > 1e-12)
    assert (found.p < 0.05) == (not found.low <= 0.0 <= found.high)
    swapped = difference({"sums": second}, {"sums": first})
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx(
        (-found.mean, -found.high, -found.low)
    )
    assert (swapped.p, swapped.seeds_won) == (found.p, found.seeds_lost)
    own = estimate({"sums": first})
    assert 0.0 <= own.low <= own.mean <= own.high <= 1.0
    assert min(found.df, own.df) >= min(seeds, problems) - 1 - 1e-6


def test_what_does_not_correspond_is_refused() -> None:
    two, three = answers(2, 10, 0.5, 0), answers(3, 10, 0.5, 0)
    with pytest.raises(ValueError, match="tasks a and b are not the same"):
        difference({"a": two}, {"b": two})
    with pytest.raises(ValueError, match=r"a: \[seeds, problems\] are \(2, 10\) and \(3, 10\)"):
        difference({"a": two}, {"a": three})
    with pytest.raises(ValueError, match="different numbers of seeds"):
        estimate({"a": two, "b": three})
    with pytest.raises(ValueError, match="must be"):
        estimate({})


def normal_study(
    seeds: int, of_seed: float, of_problem: float, tasks: int = 1
) -> tuple[dict[str, Floats], Floats]:
    """Draw studies without an effect: scores by task, and the mean of each seed over tasks.

    A seed's effect is the same on all tasks. Standard deviations are in those of the residual.
    """
    rng = np.random.default_rng(seeds)
    shared = of_seed * rng.standard_normal((STUDIES, seeds, 1))
    scores = {
        f"task {i}": shared
        + of_problem * rng.standard_normal((STUDIES, 1, 30))
        + rng.standard_normal((STUDIES, seeds, 30))
        for i in range(tasks)
    }
    return scores, np.mean([own.mean(axis=-1) for own in scores.values()], axis=0)


@pytest.mark.parametrize("tasks", [1, 4])
@pytest.mark.parametrize("of_problem", [0.0, 1.0])
@pytest.mark.parametrize("of_seed", [0.0, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_hold_their_level(
    seeds: int, of_seed: float, of_problem: float, tasks: int
) -> None:
    scores, by_seed = normal_study(seeds, of_seed, of_problem, tasks)
    found = parts(scores, differences=True)
    mean = np.abs(by_seed.mean(axis=-1))
    assert 0.935 < np.mean(mean <= found.half_width()) < 0.985
    # Corrected p values are about smaller levels, and need those as well.
    assert np.mean(mean > found.half_width(0.005)) < 0.008


def test_what_forgets_seeds_does_not_hold_its_level() -> None:
    scores, by_seed = normal_study(seeds=3, of_seed=0.5, of_problem=1.0)
    mean = np.abs(by_seed.mean(axis=-1))
    problems_only = parts({"task": scores["task 0"].mean(axis=1, keepdims=True)}, differences=True)
    assert np.mean(mean <= problems_only.half_width()) < 0.85
    spread = by_seed.std(axis=-1, ddof=1) / np.sqrt(3)
    assert np.mean(mean <= 1.96 * spread) < 0.9


@pytest.mark.parametrize("accuracy", [0.05, 0.5, 0.9])
def test_accuracies_are_covered_where_few_are_right(accuracy: float) -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((STUDIES, 3, 30)) < accuracy).astype(np.float64)
    low, high = score_interval(right.mean(axis=(1, 2)), parts({"a": right}), {"a": right})
    assert 0.93 < np.mean((low <= accuracy) & (accuracy <= high)) < 0.995
