"""Layers by Liger's kernels and models' own, for the worker in Triton's interpreter."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.kernels import fuse_layers
from wmss_cli.models.packed import PackedBatch, hidden_states, pack_attention

TYPES = ("qwen3", "llama", "gemma3_text", "olmo2", "phi3")
SMALL = {
    "vocab_size": 97,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}


def build(model_type: str) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SMALL))
    pack_attention(model)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            # Norms that start at one or zero would hide which of the two they add to.
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def quantities(model: PreTrainedModel, recompute: bool = False) -> dict[str, Tensor]:
    """Return the hidden states of three packed documents and all gradients of their square."""
    if recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    model.zero_grad()
    lengths = (3, 1, 4)
    ids = torch.arange(8) * 7 % 97
    places = torch.cat([torch.arange(length) for length in lengths])
    hidden = hidden_states(model, PackedBatch(ids, places, lengths, torch.arange(8), ids))
    weights = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
    (hidden.square() * weights).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"hidden": hidden.detach(), **{name: grad.clone() for name, grad in found.items()}}


def greatest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    assert all(value.any() for value in expected.values())
    return max(
        float((found[name] - value).abs().max() / value.abs().max())
        for name, value in expected.items()
    )


def compare(model_type: str) -> dict[str, Any]:
    own = build(model_type)
    expected = quantities(own)
    fused = copy.deepcopy(own)
    said = fuse_layers(fused, "liger")
    return {
        "said": said,
        "difference": greatest(quantities(fused), expected),
        "recomputed": greatest(quantities(fused, recompute=True), expected),
        "names_kept": list(fused.state_dict()) == list(own.state_dict()),
        # To the bit: another model of the type still has its own layers.
        "another": greatest(quantities(build(model_type)), expected),
    }


def refusal(model: PreTrainedModel) -> str:
    try:
        fuse_layers(model, "liger")
    except ConfigError as error:
        return str(error)
    raise AssertionError("Liger was not refused")


def unknown() -> dict[str, Any]:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", **SMALL, n_embd=16))
    pack_attention(model)
    return {"auto": fuse_layers(model, "auto"), "liger": refusal(model)}


def wrong() -> dict[str, Any]:
    """A model that Liger takes for a Llama though its norms do something else."""
    model = build("llama")
    for layer in model.model.layers:
        norm = layer.input_layernorm
        norm.forward = lambda hidden, own=norm.forward: 2.0 * own(hidden)
    before = quantities(model)
    refused = refusal(model)
    return {
        "liger": refused,
        "auto": fuse_layers(model, "auto"),
        "difference": greatest(quantities(model), before),
    }


def layer_rows() -> dict[str, dict[str, Any]]:
    """Return by type of model what runs, and the greatest relative differences from its own."""
    rows = {model_type: compare(model_type) for model_type in TYPES}
    return rows | {"unknown": unknown(), "wrong": wrong()}
