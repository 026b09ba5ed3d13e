"""Any causal model that transformers loads: logits at completion positions, saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import make_tiny_model
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from wmss_cli.core.schema import IGNORE_INDEX
from wmss_cli.models.causal import completion_logits, load_model, save_model
from wmss_cli.models.tokenizer import load_tokenizer

VOCAB = 50
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}
ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "qwen3": Qwen3Config(**SHAPE),
    "llama": LlamaConfig(**SHAPE),
    # Its forward bends the logits (soft capping) behind the head.
    "gemma2": Gemma2Config(**SHAPE),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "bloom": BloomConfig(vocab_size=VOCAB, hidden_size=16, n_layer=2, n_head=2),
}


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three rows of unequal length: completions of 4, 1 and no tokens."""
    input_ids = torch.randint(1, VOCAB, (3, 9), generator=torch.Generator().manual_seed(0))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 6:] = 0
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    labels[0, 5:9] = input_ids[0, 5:9]
    labels[1, 5] = input_ids[1, 5]
    return input_ids, attention_mask, labels


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(ARCHITECTURES[request.param]).eval()


def test_logits_are_those_that_predict_the_labels(model: PreTrainedModel) -> None:
    input_ids, attention_mask, labels = batch()
    logits, targets = completion_logits(model, input_ids, attention_mask, labels)
    full = model(input_ids=input_ids, attention_mask=attention_mask).logits
    expected = torch.stack([full[0, 4], full[0, 5], full[0, 6], full[0, 7], full[1, 4]])
    torch.testing.assert_close(logits, expected)
    assert targets.tolist() == [*input_ids[0, 5:9].tolist(), input_ids[1, 5].item()]


def test_without_labels_the_head_still_runs_and_gives_zero_gradients(
    model: PreTrainedModel,
) -> None:
    input_ids, attention_mask, labels = batch()
    labels[:] = IGNORE_INDEX
    logits, targets = completion_logits(model, input_ids, attention_mask, labels)
    assert logits.shape == (0, VOCAB)
    assert targets.shape == (0,)
    logits.sum().backward()
    head = model.get_output_embeddings().weight
    assert head.grad is not None
    assert not head.grad.any()


def test_saved_weights_load_with_transformers_alone(tmp_path: Path) -> None:
    source = make_tiny_model(tmp_path / "source")
    model, tokenizer = load_model(source, "fp32"), load_tokenizer(source)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    save_model(model, weights, tokenizer, [3, 5], tmp_path / "saved")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype="auto")
    for name, parameter in again.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert again.generation_config.eos_token_id == [3, 5]


def test_precision_sets_the_data_type(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "model")
    assert load_model(folder, "bf16").dtype == torch.bfloat16
    assert load_model(folder, "fp32").dtype == torch.float32
