"""NEFTune's noise: as large as the paper says, the same however it is packed, only in training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from table import make_token_table
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GemmaConfig, PreTrainedConfig

from wmss_cli.data.batches import collate
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.causal import load_packed
from wmss_cli.models.forms import choose_form
from wmss_cli.models.packed import PackedBatch, hidden_states
from wmss_cli.train.neftune import embedding_noise, noisy_embeddings
from wmss_cli.train.pair import WeakStrongPair

SHAPES = [(3, 4), (1, 2), (5, 11), (30, 70)]


@pytest.fixture
def table(tiny_model: Path, tmp_path: Path) -> TokenTable:
    return TokenTable(make_token_table(tmp_path / "tokens", tiny_model, SHAPES))


def batch_of(table: TokenTable, *rows: int) -> PackedBatch:
    return collate(table, np.array(rows, dtype=np.int64))


def test_noise_is_uniform_and_as_large_as_the_documents_length_says(table: TokenTable) -> None:
    noise = embedding_noise(batch_of(table, 0, 1, 2, 3), 64, 5.0, seed=0, step=0)
    for part, shape in zip(noise.split([sum(s) for s in SHAPES]), SHAPES, strict=True):
        bound = 5.0 / (sum(shape) * 64) ** 0.5
        assert bound * 0.95 < part.abs().max() <= bound
        # The standard deviation of a uniform number is its bound by the root of 3.
        assert float(part.std()) == pytest.approx(bound / 3**0.5, rel=0.1)
        assert abs(float(part.mean())) < 5 * bound / 3**0.5 / part.numel() ** 0.5


def test_noise_is_the_same_whatever_a_document_is_packed_with(table: TokenTable) -> None:
    alone = embedding_noise(batch_of(table, 2), 8, 5.0, 0, 3)
    packed = embedding_noise(batch_of(table, 0, 2, 1), 8, 5.0, 0, 3)
    assert torch.equal(packed[7:23], alone)
    for seed, step in ((1, 3), (0, 4)):
        assert not torch.equal(embedding_noise(batch_of(table, 2), 8, 5.0, seed, step), alone)


def test_the_loss_has_it_in_training_and_not_in_evaluation(
    tiny_model: Path, table: TokenTable
) -> None:
    pair = WeakStrongPair(load_packed(tiny_model, "fp32"), neftune_alpha=5.0)
    plain = WeakStrongPair(load_packed(tiny_model, "fp32"))
    batch = batch_of(table, 0, 1, 2)

    def loss(module: WeakStrongPair, which: PackedBatch) -> float:
        return float(module(which, 1.0)[1][0])

    assert loss(pair.eval(), batch) == loss(plain.eval(), batch)
    noisy = loss(pair.train(), batch)
    assert noisy != loss(plain.train(), batch)
    apart = sum(loss(pair, batch_of(table, row)) for row in (0, 1, 2))
    assert apart == pytest.approx(noisy, rel=1e-6)
    assert loss(pair, replace(batch)) == noisy


SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("config", [GemmaConfig(**SMALL), Gemma3TextConfig(**SMALL)])
def test_models_that_scale_their_embeddings_get_noise_behind_the_module(
    config: PreTrainedConfig, table: TokenTable
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    assert choose_form(model) == "packed"
    batch = batch_of(table, 0, 1)
    batch = replace(batch, input_ids=batch.input_ids % 50)
    model.train()
    seen = []
    module = model.get_input_embeddings()
    module.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    given = []
    model.base_model.layers[0].register_forward_pre_hook(
        lambda _module, args: given.append(args[0])
    )
    clean = hidden_states(model, batch)
    with noisy_embeddings(model, batch, 5.0, 0, 0):
        noisy = hidden_states(model, batch)
    assert torch.equal(seen[0], seen[1]), "the module itself is as it was"
    bound = 5.0 / (torch.tensor([7] * 7 + [3] * 3) * 16).sqrt()
    found = (given[1] - given[0])[0].abs().amax(dim=-1)
    assert (found <= bound * 1.001).all(), "not scaled as the embeddings are"
    assert (found > bound * 0.5).all()
    assert not torch.allclose(clean, noisy)
    assert torch.equal(hidden_states(model, batch), clean), "the noise is gone afterwards"
