"""Greedy decoding in its plainest form, and the two kinds of tiny models it is compared on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from wmss_cli.models.causal import load_model

STOP = 0
"""The tiny tokenizer's end of sequence."""


def make_model(kind: str, tiny_model: Path) -> PreTrainedModel:
    """Return a tiny Qwen3, or a tiny Llama whose heads share keys and values."""
    if kind == "qwen3":
        return load_model(tiny_model, "fp32").eval()
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return LlamaForCausalLM(config).eval()


def make_prompts(lengths: Iterable[int], shared: int = 0) -> list[list[int]]:
    """Return prompts of random ids that begin with the same ids, that many."""
    generator = torch.Generator().manual_seed(2)

    def ids(n: int) -> list[int]:
        return torch.randint(1, 320, (n,), generator=generator).tolist()

    prefix = ids(shared)
    return [prefix + ids(length) for length in lengths]


def argmax(model: PreTrainedModel, prompt: list[int], n: int) -> list[int]:
    """Read the whole sequence again for each token."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        for _ in range(n):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return ids[0, len(prompt) :].tolist()
