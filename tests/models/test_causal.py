"""A causal model that transformers loads: saved and loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import make_tiny_model
from transformers import AutoModelForCausalLM

from wmss_cli.models.causal import load_model, save_model
from wmss_cli.models.tokenizer import load_tokenizer


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
