"""Entropy of next-token distributions against a plain softmax in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.special import entr, softmax
from table import make_token_table
from torch import nn

from wmss_cli.data.batches import collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.models.heads import Head
from wmss_cli.score import entropy
from wmss_cli.score.entropy import completion_entropy, head_entropy, mean_by_row

Floats = NDArray[np.float64]


@st.composite
def rows_of_logits(draw: st.DrawFn) -> Floats:
    """Draw ``[tokens, vocab]``."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
    return draw(hnp.arrays(np.float64, shape, elements=st.floats(-300, 300)))


def entropy_of(logits: Floats) -> torch.Tensor:
    """Give the op logits of the test's choice: they are hidden states, the head is the unit."""
    head = Head(torch.eye(logits.shape[1], dtype=torch.float64))
    return head_entropy(torch.from_numpy(logits), head)


def plain_entropy(logits: Floats) -> Floats:
    return entr(softmax(logits, axis=-1)).sum(axis=-1)


@given(rows_of_logits(), st.integers(1, 15))
def test_equals_the_definition_in_blocks_of_any_size(logits: Floats, columns: int) -> None:
    with patch.object(entropy, "_CPU_COLUMNS", columns):
        got = entropy_of(logits).numpy()
    np.testing.assert_allclose(got, plain_entropy(logits), rtol=1e-12, atol=1e-12)


@given(rows_of_logits())
def test_stays_between_zero_and_the_log_of_the_vocabulary(logits: Floats) -> None:
    found = entropy_of(logits)
    assert (found >= 0).all()
    assert (found.numpy() <= np.log(logits.shape[1]) + 1e-12).all()


@given(rows_of_logits(), st.floats(-1e3, 1e3))
def test_does_not_change_when_all_logits_shift(logits: Floats, shift: float) -> None:
    torch.testing.assert_close(entropy_of(logits + shift), entropy_of(logits), rtol=1e-9, atol=1e-9)


@given(rows_of_logits())
def test_single_precision_is_close(logits: Floats) -> None:
    got = head_entropy(torch.from_numpy(logits).float(), Head(torch.eye(logits.shape[1])))
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got.numpy(), plain_entropy(logits), rtol=1e-4, atol=1e-4)


def test_known_values() -> None:
    logits = np.array([[0.0, 0.0, -1e9], [5.0, -1e9, -1e9], [1.0, 1.0, 1.0]])
    expected = [math.log(2), 0.0, math.log(3)]
    assert entropy_of(logits).tolist() == pytest.approx(expected, abs=1e-12)


def test_a_real_vocabulary_to_1e_5() -> None:
    generator = torch.manual_seed(0)
    hidden = torch.randn(20, 64, generator=generator)
    head = torch.randn(151_936, 64, generator=generator) * 0.4
    expected = plain_entropy((hidden.double() @ head.double().T).numpy())
    got = head_entropy(hidden, Head(head)).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_logits_are_summed_in_single_precision(dtype: torch.dtype) -> None:
    # In bf16 itself the sum over 50,000 tokens would be off by whole nats.
    generator = torch.manual_seed(0)
    hidden = torch.randn(4, 1, generator=generator).to(dtype)
    head = (3 * torch.randn(50_000, 1, generator=generator)).to(dtype)
    got = head_entropy(hidden, Head(head))
    assert got.dtype == torch.float32
    expected = plain_entropy((hidden @ head.T).double().numpy())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


def test_more_tokens_than_a_block_holds() -> None:
    hidden, head = torch.randn(5000, 8), torch.randn(37, 8)
    expected = plain_entropy((hidden.double() @ head.double().T).numpy())
    np.testing.assert_allclose(
        head_entropy(hidden, Head(head)).numpy(), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_caps_scales_and_biases_are_part_of_the_head(dtype: torch.dtype) -> None:
    hidden, weight, bias = torch.randn(50, 8), torch.randn(37, 8), torch.randn(37)
    head = Head(weight.to(dtype), bias.to(dtype), scale=1.5, cap=2.0)
    z = 1.5 * (hidden.to(dtype) @ head.weight.T).double() + bias.to(dtype).double()
    expected = plain_entropy((2.0 * torch.tanh(z / 2.0)).numpy())
    for columns in (5, 37):
        with patch.object(entropy, "_CPU_COLUMNS", columns):
            found = head_entropy(hidden.to(dtype), head)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_no_tokens_have_no_entropy() -> None:
    assert head_entropy(torch.empty(0, 4), Head(torch.ones(7, 4))).shape == (0,)


@given(st.lists(st.lists(st.floats(0, 20), min_size=1, max_size=6), min_size=1, max_size=6))
def test_mean_by_row(rows: list[list[float]]) -> None:
    values = torch.tensor([value for row in rows for value in row])
    means = mean_by_row(values, torch.tensor([len(row) for row in rows]))
    assert means.dtype == torch.float64
    expected = [torch.tensor(row).double().mean().item() for row in rows]
    assert means.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


SHAPES = [(5, 9), (1, 1), (12, 3), (2, 20), (7, 1)]


@pytest.fixture(scope="module")
def table(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenTable:
    folder = tmp_path_factory.mktemp("scorer") / "tokens"
    return TokenTable(make_token_table(folder, tiny_model, SHAPES))


def naive_entropy(model: nn.Module, ids: list[int], prompt_length: int) -> float:
    """Eq. 8 token by token: what the model, given all that stands before, expects next."""
    entropies = []
    for position in range(prompt_length, len(ids)):
        before = torch.tensor([ids[:position]])
        with torch.no_grad():
            logits = model(input_ids=before).logits[0, -1].tolist()
        probability = [math.exp(z - max(logits)) for z in logits]
        total = sum(probability)
        entropies.append(-sum(p / total * math.log(p / total) for p in probability if p > 0))
    return sum(entropies) / len(entropies)


def test_equals_a_plain_loop_over_tokens(table: TokenTable, tiny_model: Path) -> None:
    plain = load_for_inference(tiny_model, "fp32").double()
    model = load_for_inference(tiny_model, "fp32", packed=True).double()
    rows = np.arange(len(table))
    got = completion_entropy(model, collate(table, rows))
    expected = [
        naive_entropy(plain, table.input_ids(row).tolist(), int(table.prompt_lengths[row]))
        for row in rows
    ]
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected, rel=1e-9)
    assert np.ptp(expected) > 0.01, "the samples are too alike to tell anything"


def test_the_neighbours_do_not_matter(table: TokenTable, tiny_model: Path) -> None:
    model = load_for_inference(tiny_model, "fp32", packed=True).double()
    together = completion_entropy(model, collate(table, np.arange(len(table))))
    for row in range(len(table)):
        alone = completion_entropy(model, collate(table, np.array([row])))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-9, atol=1e-12)


def test_reads_the_position_that_predicts_each_token(table: TokenTable, tiny_model: Path) -> None:
    """One position late, as the authors' code reads, the values would be others."""
    model = load_for_inference(tiny_model, "fp32", packed=True).double()
    batch = collate(table, np.array([0]))
    late = replace(batch, predicting=batch.predicting + 1)
    right, wrong = completion_entropy(model, batch), completion_entropy(model, late)
    assert abs(float(right - wrong)) > 1e-6
