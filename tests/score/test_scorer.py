"""The entropy of a completion: of the distributions that predict it, not of those after it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from table import make_token_table
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from wmss_cli.data.batches import collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_for_inference
from wmss_cli.score.scorer import completion_entropy

SHAPES = [(5, 9), (1, 1), (12, 3), (2, 20), (7, 1)]


class Bigram(nn.Module):
    """A language model whose next token depends on the last one alone: ``logits[token]``."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool) -> CausalLMOutput:
        assert attention_mask.shape == input_ids.shape
        assert not use_cache
        return CausalLMOutput(logits=self.logits[input_ids])


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
    model = load_for_inference(tiny_model, "fp32").double()
    rows = np.arange(len(table))
    got = completion_entropy(model, **collate(table, rows, pad_token_id=0))
    expected = [
        naive_entropy(model, table.input_ids(row).tolist(), int(table.prompt_lengths[row]))
        for row in rows
    ]
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected, rel=1e-9)
    assert np.ptp(expected) > 0.01, "the samples are too alike to tell anything"


def test_neither_the_neighbours_nor_the_padding_matter(table: TokenTable, tiny_model: Path) -> None:
    model = load_for_inference(tiny_model, "fp32").double()
    together = completion_entropy(model, **collate(table, np.arange(len(table)), pad_token_id=0))
    for row in range(len(table)):
        alone = completion_entropy(model, **collate(table, np.array([row]), pad_token_id=3))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-9, atol=1e-12)


def test_reads_the_position_that_predicts_each_token() -> None:
    # After 0 anything may come, after 1 surely 2, after 2 either of two.
    unsure, surely, either = [0.0] * 4, [-1e9, -1e9, 0.0, -1e9], [0.0, 0.0, -1e9, -1e9]
    model = Bigram([unsure, surely, either, surely])
    input_ids = torch.tensor([[3, 0, 1, 2]])
    labels = torch.tensor([[-100, -100, 1, 2]])
    got = completion_entropy(
        model,  # type: ignore[arg-type]
        input_ids,
        torch.ones_like(input_ids),
        labels,
    )
    predicting = [math.log(4), 0.0]
    one_late = [0.0, math.log(2)]
    assert sum(predicting) != sum(one_late)
    assert got.tolist() == pytest.approx([sum(predicting) / 2])
