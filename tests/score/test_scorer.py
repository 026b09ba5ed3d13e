"""The entropy of a completion: of the distributions that predict it, not of those after it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from table import make_token_table
from torch import nn

from wmss_cli.data.batches import collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.score.scorer import completion_entropy

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
