"""A pair in Qwen3-0.6B's shape with random weights, or small for a rehearsal, and its steps."""

from __future__ import annotations

from typing import Any

import torch
from deepspeed.runtime.engine import DeepSpeedEngine

from wmss_cli.models.causal import device
from wmss_cli.models.packed import PackedBatch

QWEN3_06B: dict[str, Any] = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
SMALL = {**QWEN3_06B, "vocab_size": 500, "hidden_size": 64, "num_hidden_layers": 2}
LENGTHS = (2048, 1024, 3000, 2120)


def batch(lengths: tuple[int, ...], vocab: int) -> PackedBatch:
    tokens = sum(lengths)
    ids = torch.randint(vocab, (tokens,), generator=torch.Generator().manual_seed(0))
    positions = torch.cat([torch.arange(length) for length in lengths])
    predicting = torch.nonzero(positions > 16)[:, 0] - 1
    return PackedBatch(ids, positions, lengths, predicting, ids[predicting + 1]).to(device())


def take_step(engine: DeepSpeedEngine, given: PackedBatch, step: int) -> float:
    """Take an optimizer step, and return the loss before it."""
    engine.set_gradient_accumulation_boundary(True)
    loss, _ = engine(given, float(len(given.targets)), None, step)
    engine.backward(loss)
    engine.step()
    return float(loss)
