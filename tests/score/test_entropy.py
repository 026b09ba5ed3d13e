"""Entropy of next-token distributions against a plain softmax in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import entr, softmax

from wmss_cli.score.entropy import mean_by_row, token_entropy

Floats = NDArray[np.float64]


@st.composite
def rows_of_logits(draw: st.DrawFn) -> Floats:
    """Draw ``[tokens, vocab]``, in which tokens may be ruled out, but never all of a row."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=6))
    logits = draw(hnp.arrays(np.float64, shape, elements=st.floats(-300, 300)))
    ruled_out = draw(hnp.arrays(np.bool_, shape))
    ruled_out[:, draw(st.integers(0, shape[1] - 1))] = False
    return np.where(ruled_out, -np.inf, logits)


def plain_entropy(logits: Floats) -> Floats:
    return entr(softmax(logits, axis=-1)).sum(axis=-1)


@given(rows_of_logits())
def test_equals_the_definition(logits: Floats) -> None:
    got = token_entropy(torch.from_numpy(logits)).numpy()
    np.testing.assert_allclose(got, plain_entropy(logits), rtol=1e-12, atol=1e-12)


@given(rows_of_logits())
def test_stays_between_zero_and_the_log_of_the_vocabulary(logits: Floats) -> None:
    entropy = token_entropy(torch.from_numpy(logits))
    possible = np.isfinite(logits).sum(axis=-1)
    assert (entropy >= 0).all()
    assert (entropy.numpy() <= np.log(possible) + 1e-12).all()


@given(rows_of_logits(), st.floats(-1e3, 1e3))
def test_does_not_change_when_all_logits_shift(logits: Floats, shift: float) -> None:
    before = token_entropy(torch.from_numpy(logits))
    after = token_entropy(torch.from_numpy(logits + shift))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)


@given(rows_of_logits())
def test_a_token_that_is_ruled_out_adds_nothing(logits: Floats) -> None:
    wider = np.concatenate([logits, np.full((len(logits), 1), -np.inf)], axis=1)
    torch.testing.assert_close(
        token_entropy(torch.from_numpy(wider)), token_entropy(torch.from_numpy(logits))
    )


@given(rows_of_logits())
def test_single_precision_is_close(logits: Floats) -> None:
    got = token_entropy(torch.from_numpy(logits).float())
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), plain_entropy(logits), rtol=1e-4, atol=1e-4)


def test_known_values() -> None:
    half = [[0.0, 0.0, -math.inf], [5.0, -math.inf, -math.inf], [1.0, 1.0, 1.0]]
    expected = [math.log(2), 0.0, math.log(3)]
    assert token_entropy(torch.tensor(half)).tolist() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_summed_in_single_precision(dtype: torch.dtype) -> None:
    # In bf16 itself the sum over 50,000 tokens would be off by whole nats.
    logits = (3 * torch.randn(4, 50_000, generator=torch.manual_seed(0))).to(dtype)
    got = token_entropy(logits)
    assert got.dtype == torch.float32
    expected = plain_entropy(logits.double().numpy())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


@given(st.lists(st.lists(st.floats(0, 20), min_size=1, max_size=6), min_size=1, max_size=6))
def test_mean_by_row(rows: list[list[float]]) -> None:
    values = torch.tensor([value for row in rows for value in row])
    means = mean_by_row(values, torch.tensor([len(row) for row in rows]))
    assert means.dtype == torch.float64
    expected = [torch.tensor(row).double().mean().item() for row in rows]
    assert means.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
