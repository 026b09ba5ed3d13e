"""Eq. 10 and the draw: by hand, by property, and by frequency."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chisquare

from wmss_cli.core.config import CurriculumConfig
from wmss_cli.core.errors import DataError
from wmss_cli.score.curriculum import Weights, draw, weigh

WEAK = np.array([1.0, 2.0, 1.0, 0.0])
STRONG = np.array([0.5, 2.0, 1.5, 0.0])
"""Learnt by half a nat, unmoved, forgotten by half a nat, certain throughout."""

ENTROPIES = st.floats(0, 12, allow_subnormal=False)


@st.composite
def moves(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw the entropies of some samples, of which at least one is above zero."""
    pairs = draw(st.lists(st.tuples(ENTROPIES, ENTROPIES), min_size=1, max_size=30))
    weak, strong = np.array(pairs).T
    assume(weak.max() > 1e-6)
    return weak, strong


def config(**options: Any) -> CurriculumConfig:
    return CurriculumConfig(**options)


# Eq. 10.


def test_eq_10_as_it_is_printed() -> None:
    weights = weigh(WEAK, STRONG, config(alpha=0.1, beta=0.8, gamma=0.1))
    # alpha H + beta [-dH]+ + gamma [dH]+: 0.1 + 0.4, 0.2, 0.1 + 0.05, 0; together 0.85.
    np.testing.assert_allclose(
        weights.probability, np.array([0.50, 0.20, 0.15, 0.0]) / 0.85, rtol=1e-14
    )
    expected = {"alpha": 0.4 / 0.85, "beta": 0.4 / 0.85, "gamma": 0.05 / 0.85}
    assert weights.shares == pytest.approx(expected, rel=1e-14)
    assert weights.effective_sample_size == pytest.approx(0.85**2 / (0.5**2 + 0.2**2 + 0.15**2))


def test_each_term_normalised_first() -> None:
    options = config(alpha=0.1, beta=0.8, gamma=0.1, normalization="per_term")
    weights = weigh(WEAK, STRONG, options)
    # H / 4, [-dH]+ / 0.5, [dH]+ / 0.5: 0.1 / 4 + 0.8, 0.1 / 2, 0.1 / 4 + 0.1, 0.
    np.testing.assert_allclose(weights.probability, [0.825, 0.05, 0.125, 0.0], rtol=1e-14)
    assert weights.shares == pytest.approx({"alpha": 0.1, "beta": 0.8, "gamma": 0.1})


def test_a_term_that_is_zero_everywhere_adds_nothing() -> None:
    options = config(alpha=0.1, beta=0.8, gamma=0.1, normalization="per_term")
    weights = weigh(np.array([1.0, 3.0]), np.array([2.0, 3.0]), options)
    np.testing.assert_allclose(weights.probability, np.array([0.025 + 0.1, 0.075]) / 0.2)
    assert weights.shares["beta"] == 0


def test_each_term_alone() -> None:
    only_alpha = weigh(WEAK, STRONG, config(alpha=1.0, beta=0.0, gamma=0.0)).probability
    only_beta = weigh(WEAK, STRONG, config(alpha=0.0, beta=1.0, gamma=0.0)).probability
    only_gamma = weigh(WEAK, STRONG, config(alpha=0.0, beta=0.0, gamma=1.0)).probability
    np.testing.assert_allclose(only_alpha, WEAK / 4)
    np.testing.assert_allclose(only_beta, [1, 0, 0, 0])
    np.testing.assert_allclose(only_gamma, [0, 0, 1, 0])


@given(moves(), st.sampled_from(["paper", "per_term"]))
def test_probabilities_and_shares_sum_to_one(
    move: tuple[np.ndarray, np.ndarray], normalization: str
) -> None:
    weights = weigh(*move, config(normalization=normalization))
    assert weights.probability.sum() == pytest.approx(1, abs=1e-12)
    assert (weights.probability >= 0).all()
    assert sum(weights.shares.values()) == pytest.approx(1, abs=1e-12)
    assert 1 - 1e-9 <= weights.effective_sample_size <= len(move[0]) * (1 + 1e-9)


@given(moves(), st.floats(0.01, 100), st.sampled_from(["paper", "per_term"]))
def test_the_unit_of_entropy_does_not_matter(
    move: tuple[np.ndarray, np.ndarray], scale: float, normalization: str
) -> None:
    weak, strong = move
    options = config(normalization=normalization)
    before, after = weigh(weak, strong, options), weigh(scale * weak, scale * strong, options)
    np.testing.assert_allclose(after.probability, before.probability, rtol=1e-9, atol=1e-12)


@given(moves(), st.floats(0.01, 100))
def test_only_the_ratio_of_alpha_beta_gamma_matters(
    move: tuple[np.ndarray, np.ndarray], scale: float
) -> None:
    before = weigh(*move, config(alpha=0.1, beta=0.8, gamma=0.1))
    after = weigh(*move, config(alpha=0.1 * scale, beta=0.8 * scale, gamma=0.1 * scale))
    np.testing.assert_allclose(after.probability, before.probability, rtol=1e-9, atol=1e-12)


def test_effective_sample_size_of_the_extremes() -> None:
    assert Weights(np.full(7, 1 / 7), {}).effective_sample_size == pytest.approx(7)
    assert Weights(np.array([0.0, 1.0, 0.0]), {}).effective_sample_size == 1


@pytest.mark.parametrize("normalization", ["paper", "per_term"])
def test_all_zero_weights_are_an_error(normalization: str) -> None:
    zero = np.zeros(3)
    with pytest.raises(
        DataError, match=r"all curriculum weights are zero.*raise curriculum\.alpha"
    ):
        weigh(zero, zero, config(normalization=normalization))
    # Nothing moved, and alpha leaves out the rest.
    same = np.ones(3)
    with pytest.raises(DataError, match="all curriculum weights are zero"):
        weigh(same, same, config(alpha=0.0, normalization=normalization))


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("role", ["weak", "strong"])
def test_an_entropy_that_cannot_be_is_an_error(bad: float, role: str) -> None:
    good, other = np.ones(2), np.array([1.0, bad])
    pair = (other, good) if role == "weak" else (good, other)
    with pytest.raises(DataError, match=f"entropy of the {role} model is negative or not finite"):
        weigh(*pair, config())


# The draw.


@given(moves(), st.floats(0.1, 3), st.integers(0, 5))
def test_with_replacement_the_counts_sum_to_the_size(
    move: tuple[np.ndarray, np.ndarray], multiplier: float, seed: int
) -> None:
    probability = weigh(*move, config()).probability
    counts = draw(probability, config(multiplier=multiplier, seed=seed))
    assert counts.sum() == max(1, round(multiplier * len(probability)))
    assert (counts >= 0).all()
    assert not counts[probability == 0].any()


@given(moves(), st.floats(0.05, 1), st.integers(0, 5))
def test_without_replacement_nothing_repeats(
    move: tuple[np.ndarray, np.ndarray], multiplier: float, seed: int
) -> None:
    probability = weigh(*move, config()).probability
    size = max(1, round(multiplier * len(probability)))
    assume(size <= (probability > 0).sum())
    options = config(sampling="without_replacement", multiplier=multiplier, seed=seed)
    counts = draw(probability, options)
    assert counts.sum() == size
    assert counts.max() == 1
    assert not counts[probability == 0].any()


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
def test_the_seed_makes_the_draw(sampling: str) -> None:
    probability = np.random.default_rng(0).dirichlet(np.ones(200))
    draws = [
        draw(probability, config(sampling=sampling, multiplier=0.5, seed=seed))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_with_replacement_frequencies_follow_the_weights() -> None:
    probability = np.array([0.5, 0.3, 0.15, 0.05])
    total = sum(draw(probability, config(seed=seed)) for seed in range(3000))
    assert chisquare(total, probability * 3000 * 4).pvalue > 1e-4


def test_without_replacement_draws_one_after_the_other_by_the_weights_left() -> None:
    probability = np.array([0.55, 0.25, 0.15, 0.05])
    options = [config(sampling="without_replacement", multiplier=0.5, seed=s) for s in range(6000)]
    pairs = {(i, j): 0 for i in range(4) for j in range(i + 1, 4)}
    for option in options:
        i, j = np.flatnonzero(draw(probability, option))
        pairs[int(i), int(j)] += 1
    expected = dict.fromkeys(pairs, 0.0)
    for first, second in permutations(range(4), 2):
        both = probability[first] * probability[second] / (1 - probability[first])
        expected[min(first, second), max(first, second)] += both * len(options)
    assert chisquare(list(pairs.values()), list(expected.values())).pvalue > 1e-4
    # Not the same as taking the heaviest, nor as each by its own probability.
    assert min(pairs.values()) > 0


def test_more_than_there_are_is_an_error() -> None:
    probability = np.array([0.5, 0.5, 0.0])
    options = config(sampling="without_replacement", multiplier=1.0)
    with pytest.raises(DataError, match="cannot draw 3 samples without replacement from 2") as e:
        draw(probability, options)
    assert "lower curriculum.multiplier" in str(e.value)
    assert draw(probability, config(multiplier=3.0)).sum() == 9


@given(
    st.integers(0, 99),
    st.sampled_from(["with_replacement", "without_replacement"]),
    st.floats(0.3, 1.0),
)
def test_a_random_choice_has_exactly_the_multiplicities_of_the_weighted_draw(
    seed: int, sampling: str, multiplier: float
) -> None:
    probability = np.arange(1.0, 31.0) / 465
    options = {"seed": seed, "sampling": sampling, "multiplier": multiplier}
    weighted = draw(probability, config(**options))
    dealt = draw(probability, config(**options, choice="random"))
    assert sorted(dealt) == sorted(weighted)
    np.testing.assert_array_equal(dealt, draw(probability, config(**options, choice="random")))


def test_a_random_choice_does_not_look_at_the_weights() -> None:
    # Half of the samples have no weight, and get as many of the draws as the others.
    probability = np.repeat([0.0, 0.02], 50)
    dealt = sum(draw(probability, config(seed=s, choice="random")) for s in range(200))
    assert abs(dealt[:50].sum() / dealt.sum() - 0.5) < 0.02
