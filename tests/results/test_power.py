"""What a study can find, said before it is run, against studies that are simulated."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmss_cli.results.power import Assumptions, chances, detectable_difference, power_of

SIMULATION = Path(__file__).parents[2] / "docs" / "statistics_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> dict[str, Any]:
    """The functions of the script whose figures are in docs/statistics.md."""
    return runpy.run_path(str(SIMULATION))


@pytest.mark.parametrize(("seeds", "problems"), [(2, 500), (3, 100), (5, 30), (5, 500)])
def test_power_is_what_was_promised(simulation: Any, seeds: int, problems: int) -> None:
    cell = simulation["cell"]({"sums": problems}, seeds)
    found = simulation["simulate"](cell, 600, np.random.default_rng(0))
    assert found.promised == pytest.approx(0.8, abs=1e-3)
    # Two standard errors of 600 studies beside the five points.
    assert found.power == pytest.approx(found.promised, abs=0.05 + 0.03)
    assert found.false_positives < 0.08
    assert 0.92 < found.difference < 0.995
    assert 0.92 < found.mean < 0.995
    assert found.bootstrap < 0.85


def test_thirty_problems_do_not_show_five_points() -> None:
    aime = {"aime": 30}
    assert detectable_difference(aime, seeds=3) > 0.2
    assert power_of(0.05, aime, seeds=3) < 0.15
    # Two seeds and 30 problems: not even the largest difference that there is.
    assert detectable_difference(aime, seeds=2) == float("inf")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.sampled_from([50, 400]), st.sampled_from([1, 4]))
def test_more_of_anything_shows_smaller_differences(
    seeds: int, problems: int, samples: int
) -> None:
    smallest = detectable_difference({"a": problems}, seeds, samples)
    if smallest < 1.0:
        assert power_of(smallest, {"a": problems}, seeds, samples) == pytest.approx(0.8, abs=0.02)
    assert detectable_difference({"a": 2 * problems}, seeds, samples) < max(smallest, 0.5)
    assert detectable_difference({"a": problems, "b": problems}, seeds, samples) < max(
        smallest, 0.5
    )
    if seeds > 1:
        assert detectable_difference({"a": problems}, seeds + 1, samples) < smallest


def test_without_a_difference_the_power_is_the_level_at_most() -> None:
    for seeds in (1, 2, 3, 5):
        assert power_of(0.0, {"a": 200}, seeds) <= 0.056


def test_one_seed_is_mcnemars_test() -> None:
    # Arms that never disagree by chance: all that differs is gained.
    assumed = Assumptions(same_model=0.98, same_arm=0.98, other_arm=0.98, seed_sd=0.0)
    # Six gains of six are the fewest that McNemar's test at 5 % finds.
    found = power_of(0.1, {"a": 60}, seeds=1, assumed=assumed)
    assert 0.4 < found < 0.7


def test_seeds_that_differ_more_cost_power() -> None:
    calm, wild = Assumptions(seed_sd=0.0), Assumptions(seed_sd=0.03)
    assert power_of(0.05, {"a": 1319}, 3, assumed=calm) > 0.8
    assert power_of(0.05, {"a": 1319}, 3, assumed=wild) < 0.4


@pytest.mark.parametrize("accuracy", [0.02, 0.5, 0.97])
def test_chances_have_their_mean_and_correlation(accuracy: float) -> None:
    found = chances(accuracy, 0.6, 4096)
    assert found.mean() == pytest.approx(accuracy)
    assert found.var() / (accuracy * (1 - accuracy)) == pytest.approx(0.6, abs=0.01)
    assert (np.diff(found) >= 0).all()
    assert 0.0 <= found[0] <= found[-1] <= 1.0


def test_assumptions_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="accuracy is 1"):
        Assumptions(accuracy=1.0)
    with pytest.raises(ValueError, match="correlations must fall"):
        Assumptions(same_arm=0.4)
    with pytest.raises(ValueError, match="seed_sd"):
        Assumptions(seed_sd=-0.1)
    with pytest.raises(ValueError, match=r"no accuracy differs by 0[.]6"):
        power_of(0.6, {"a": 100}, 3)
