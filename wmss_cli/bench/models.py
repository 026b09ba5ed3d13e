"""Models with random weights, in the shapes to measure."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, Qwen3Config

from wmss_cli.models.allocator import keep_freed_memory
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.packed import pack_attention
from wmss_cli.models.shape import ModelShape

QWEN3_VOCABULARY = 151_936
"""For all Qwen3 models."""


def qwen3(hidden_size: int, layers: int, vocab_size: int = QWEN3_VOCABULARY) -> dict[str, Any]:
    """Return the configuration of a Qwen3 with the given width and depth.

    The proportions are those of Qwen3-0.6B: 64 dimensions of the hidden state for each head, half
    as many heads for keys and values, three times the width inside, the embedding as head.
    """
    heads = max(2, hidden_size // 64)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=3 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=hidden_size // heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    return config.to_dict()


def smollm2(layers: int = 30, vocab_size: int = 49_152) -> dict[str, Any]:
    """Return the configuration of SmolLM2-135M, a Llama."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return config.to_dict()


def packed_model(config: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """Make a model with random weights that reads packed documents."""
    model = random_model(config, seed)
    pack_attention(model)
    return model


def random_model(config: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """Make a model on this process's device, in the data type that training uses there."""
    # As when a stage loads a model.
    keep_freed_memory()
    kind = {"qwen3": Qwen3Config, "llama": LlamaConfig}[config["model_type"]]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(kind(**config), dtype=dtype_of("auto"))
    return cast(PreTrainedModel, torch.nn.Module.to(model, device()))


def shape_of(config: dict[str, Any]) -> ModelShape:
    """Return the shape, which counts parameters and FLOPs."""
    return ModelShape.of_config(config)
