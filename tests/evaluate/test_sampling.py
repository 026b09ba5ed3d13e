"""Tokens are drawn by their probabilities, and the same ones for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from wmss_cli.evaluate.sampling import draw, seed_of

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0, 1.0])


def drawn(n: int, temperature: float, top_p: float) -> np.ndarray:
    """Return how often each token is drawn."""
    generators = [torch.Generator().manual_seed(seed) for seed in range(n)]
    tokens = draw(LOGITS.expand(n, -1), temperature, top_p, generators)
    return np.bincount(tokens, minlength=len(LOGITS))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_frequencies_are_the_probabilities(temperature: float) -> None:
    expected = torch.softmax(LOGITS.double() / temperature, dim=-1).numpy()
    assert chisquare(drawn(20_000, temperature, 1.0), 20_000 * expected).pvalue > 1e-3


def test_top_p_leaves_the_most_probable_tokens_in_their_proportion() -> None:
    p = torch.softmax(LOGITS.double(), dim=-1).numpy()
    # The first has 0.53; the first two of the others reach 0.92.
    found = drawn(20_000, 1.0, 0.9)
    assert found[[2, 3]].tolist() == [0, 0]
    kept = p[[0, 1, 4]]
    assert chisquare(found[[0, 1, 4]], 20_000 * kept / kept.sum()).pvalue > 1e-3


@given(st.floats(1e-6, 1.0), st.integers(0, 2**40))
def test_a_small_top_p_is_greedy(top_p: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    (token,) = draw(torch.tensor([[0.0, 30.0, 0.0]]), 1.0, top_p, [generator])
    assert token == 1


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    logits = torch.randn(3, 50, generator=torch.manual_seed(0))

    def own(row: int) -> torch.Generator:
        return torch.Generator().manual_seed(row)

    together = draw(logits, 1.0, 1.0, [own(0), own(1), own(2)])
    assert together == [draw(logits[i : i + 1], 1.0, 1.0, [own(i)])[0] for i in range(3)]


def test_each_answer_has_a_seed_of_its_own() -> None:
    names = [(task, problem, n) for task in "ab" for problem in "cd" for n in range(3)]
    seeds = {seed_of(seed, *name) for seed in (0, 1) for name in names}
    assert len(seeds) == 2 * len(names)
    assert seed_of(0, "a", "c", 0) == seed_of(0, "a", "c", 0)
