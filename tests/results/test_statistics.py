from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, hypergeom, norm

from wmss_cli.results.statistics import (
    bootstrap_interval,
    holm,
    majority_at_k,
    paired_difference,
    pass_at_k,
    wilson_interval,
)


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 2000))
    return draw(st.integers(0, n)), n


@given(counts(), st.floats(0.5, 0.999))
def test_equals_the_closed_formula(count: tuple[int, int], confidence: float) -> None:
    successes, n = count
    z = norm.ppf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))

    low, high = wilson_interval(successes, n, confidence)

    assert low == pytest.approx(centre - half, abs=1e-9)
    assert high == pytest.approx(centre + half, abs=1e-9)


@given(counts())
def test_holds_the_proportion_and_stays_within_0_and_1(count: tuple[int, int]) -> None:
    successes, n = count
    low, high = wilson_interval(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0


@given(counts())
def test_right_and_wrong_answers_mirror_each_other(count: tuple[int, int]) -> None:
    successes, n = count
    low, high = wilson_interval(successes, n)
    assert wilson_interval(n - successes, n) == pytest.approx((1 - high, 1 - low))


def test_all_right_is_not_certainty() -> None:
    low, high = wilson_interval(10, 10)
    assert high == 1.0
    assert low == pytest.approx(0.7225, abs=1e-4)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_choices_with_a_right_answer(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    answers = [True] * c + [False] * (n - c)
    choices = list(combinations(answers, k))
    expected = sum(any(choice) for choice in choices) / len(choices)
    assert pass_at_k(np.array([c]), n, k)[0] == pytest.approx(expected)


def test_pass_at_k_of_many_answers() -> None:
    assert pass_at_k(np.array([0, 1, 1000]), 1000, 500).tolist() == pytest.approx([0.0, 0.5, 1.0])


@pytest.mark.parametrize(
    ("answers", "correct", "majority"),
    [
        (["4", "5", "4"], [True, False, True], 1.0),
        (["5", "5", "4"], [False, False, True], 0.0),
        (["4", "5"], [True, False], 0.5),
        (["x  + 1", "x + 1", "2"], [True, True, False], 1.0),
        ([None, None, "4"], [False, False, True], 1.0),
        ([None, None], [False, False], 0.0),
        # Two programs, whose lines are indented otherwise.
        (["for x in y:\n  f()\n  g()", "for x in y:\n  f()\ng()"], [True, False], 0.5),
    ],
)
def test_the_majority_of_all_answers(
    answers: list[str | None], correct: list[bool], majority: float
) -> None:
    assert majority_at_k(answers, correct, len(answers)) == majority


def vote(answers: Sequence[str | None], right: str) -> float:
    """Return how probably the majority is right, as one would count it by hand."""
    votes = Counter(answer for answer in answers if answer is not None)
    leading = [answer for answer, count in votes.items() if count == max(votes.values())]
    return leading.count(right) / len(leading) if leading else 0.0


@given(st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=7), st.data())
def test_majority_at_k_is_the_mean_over_choices(
    answers: list[str | None], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(answers)))
    expected = np.mean([vote(choice, "a") for choice in combinations(answers, k)])
    found = majority_at_k(answers, [answer == "a" for answer in answers], k)
    assert found == pytest.approx(expected)


def test_majority_at_k_of_many_answers_is_near_that_of_all_choices() -> None:
    answers = ["a"] * 24 + ["b"] * 16
    k = 9
    # More than half of nine, drawn without putting back.
    expected = hypergeom(40, 24, k).sf(k // 2)
    found = majority_at_k(answers, [answer == "a" for answer in answers], k)
    assert found == pytest.approx(expected, abs=0.05)


def test_the_bootstrap_interval_is_near_the_normal_one() -> None:
    values = np.random.default_rng(0).beta(2, 3, 2000)
    low, high = bootstrap_interval(values)
    half = norm.ppf(0.975) * values.std() / math.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=1e-3)


def test_one_problem_has_no_interval_to_speak_of() -> None:
    assert bootstrap_interval(np.array([0.5])) == (0.5, 0.5)


def test_the_bootstrap_interval_is_that_of_its_definition() -> None:
    values = np.random.default_rng(3).binomial(4, 0.6, 50) / 4
    drawn = np.random.default_rng(0).integers(0, 50, (10_000, 50))
    expected = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    assert bootstrap_interval(values) == tuple(expected)


def test_the_bootstrap_interval_is_the_same_every_time() -> None:
    values = np.array([0.0, 1.0, 0.25, 0.5])
    assert bootstrap_interval(values) == bootstrap_interval(values)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_single_answers_are_compared_by_mcnemar(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs, dtype=float).T
    found = paired_difference(first, second)
    gained = sum(b and not a for a, b in pairs)
    lost = sum(a and not b for a, b in pairs)
    expected = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert found.p == pytest.approx(expected)
    assert found.mean == pytest.approx((gained - lost) / len(pairs))
    assert found.low <= found.mean + 1e-12
    assert found.high >= found.mean - 1e-12


def test_shares_are_compared_by_flipping_signs() -> None:
    first = np.array([0.0, 0.25, 0.5, 0.75, 0.5, 0.25])
    second = np.array([0.25, 0.5, 0.75, 1.0, 0.25, 0.5])
    change = second - first
    flips = [abs(np.dot(signs, change)) for signs in product((-1, 1), repeat=6)]
    expected = np.mean(np.array(flips) >= abs(change.sum()) - 1e-9)
    assert paired_difference(first, second).p == pytest.approx(expected, abs=0.02)


def test_two_equal_models_do_not_differ() -> None:
    same = np.array([0.5, 0.25, 1.0])
    found = paired_difference(same, same)
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_p_values_are_corrected_for_their_number() -> None:
    # The example of R's p.adjust.
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.7, 0.6]) == [1.0, 1.0]


def test_equal_verdicts_do_not_make_a_difference_certain() -> None:
    found = paired_difference(np.ones(30), np.ones(30))
    assert found.mean == 0.0
    assert found.low < -0.01
    assert 0.01 < found.high < 0.1


def test_the_interval_of_a_published_example() -> None:
    # A. Agresti, "Categorical Data Analysis" (2002), table 10.1: approval of a prime minister.
    first = np.repeat([1.0, 1.0, 0.0, 0.0], [794, 150, 86, 570])
    second = np.repeat([1.0, 0.0, 1.0, 0.0], [794, 150, 86, 570])
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(-0.04)
    assert (found.low, found.high) == pytest.approx((-0.06, -0.02), abs=0.002)
