"""Packed documents: each sees itself alone, and what a model cannot pack is refused."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.packed import (
    PackedBatch,
    check_packing,
    head_weight,
    hidden_states,
    pack_attention,
)

VOCAB = 50
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}
CAN_PACK: dict[str, PreTrainedConfig] = {
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
    "llama": LlamaConfig(**SHAPE),
    "mistral": MistralConfig(**SHAPE, head_dim=4, sliding_window=3),
}
CANNOT: dict[str, PreTrainedConfig] = {
    # It caps its logits behind the head.
    "gemma2": Gemma2Config(**SHAPE, head_dim=4, final_logit_softcapping=0.1),
    # It scales them.
    "cohere": CohereConfig(**SHAPE, logit_scale=0.25),
    # Its positions are in an attention of its own.
    "bloom": BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2),
}
LENGTHS = (5, 1, 9)


def model_of(config: PreTrainedConfig) -> PreTrainedModel:
    torch.manual_seed(0)
    # A model keeps what its attention is in its configuration.
    own = copy.deepcopy(config)
    model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(own).eval())
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger than at the beginning of a training, so that what is wrong shows.
            parameter.mul_(3.0) if parameter.ndim > 1 else None
    return model


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(1, VOCAB, (length,), generator=generator) for length in LENGTHS]


def pack(rows: list[torch.Tensor]) -> PackedBatch:
    """Put documents together, every position of them predicting."""
    ids = torch.cat(rows)
    positions = torch.cat([torch.arange(len(row)) for row in rows])
    return PackedBatch(ids, positions, tuple(map(len, rows)), torch.arange(len(ids)), ids)


@pytest.mark.parametrize("name", CAN_PACK)
def test_logits_are_those_of_each_document_alone(name: str) -> None:
    model = model_of(CAN_PACK[name])
    expected = torch.cat([model(row[None]).logits[0] for row in documents()])
    check_packing(model)
    pack_attention(model)
    found = hidden_states(model, pack(documents())) @ head_weight(model).T
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CAN_PACK)
def test_gradients_are_those_of_each_document_alone(name: str) -> None:
    model = model_of(CAN_PACK[name])
    for row in documents():
        model(row[None]).logits.square().sum().backward()
    expected = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    pack_attention(model)
    hidden = hidden_states(model, pack(documents()))
    (hidden @ head_weight(model).T).square().sum().backward()
    for key, parameter in model.named_parameters():
        scale = float(expected[key].abs().max())
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-5, atol=1e-5 * scale)


def test_a_changed_token_changes_its_own_document_alone() -> None:
    model = model_of(CAN_PACK["qwen3"])
    pack_attention(model)
    rows = documents()
    before = hidden_states(model, pack(rows))
    rows[0][0] = rows[0][0] % (VOCAB - 1) + 1
    after = hidden_states(model, pack(rows))
    changed = (before != after).any(dim=1).tolist()
    assert changed == [True] * 5 + [False] * 10


def test_only_what_predicts_is_returned() -> None:
    model = model_of(CAN_PACK["qwen3"])
    pack_attention(model)
    batch = pack(documents())
    wanted = torch.tensor([3, 4, 10])
    some = PackedBatch(batch.input_ids, batch.position_ids, LENGTHS, wanted, wanted)
    torch.testing.assert_close(hidden_states(model, some), hidden_states(model, batch)[wanted])


@pytest.mark.parametrize("name", CANNOT)
def test_a_model_whose_logits_are_no_bare_product_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: packed documents do not give"):
        check_packing(model_of(CANNOT[name]))


def test_weights_that_are_not_finite_are_said_to_be_so() -> None:
    model = model_of(CAN_PACK["qwen3"])
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(ConfigError, match=r"1 weights .* not finite \(model\.norm\.weight\)"):
        check_packing(model)


def test_gpt2_packs_too() -> None:
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    check_packing(model_of(config))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", CAN_PACK)
def test_flash_attention_on_a_gpu_agrees(name: str) -> None:
    model = model_of(CAN_PACK[name])
    pack_attention(model)
    expected = hidden_states(model, pack(documents()))
    narrow = cast(Any, model).to("cuda", torch.bfloat16)
    found = hidden_states(narrow, pack(documents()).to(torch.device("cuda")))
    torch.testing.assert_close(found.float().cpu(), expected, rtol=5e-2, atol=5e-2)
