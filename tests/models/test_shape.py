"""Parameters and FLOPs of a shape against real models of random weights, and against torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3_5TextConfig,
    Qwen3Config,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.shape import ModelShape, train_flops

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    # What the default names is beyond so small a vocabulary.
    "pad_token_id": 0,
}

QWEN3: dict[str, Any] = {**SIZES, "model_type": "qwen3", "head_dim": 8}

ARCHITECTURES: dict[str, PretrainedConfig] = {
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=8),
    "qwen3-bias": Qwen3Config(**SIZES, head_dim=8, attention_bias=True),
    "llama": LlamaConfig(**SIZES),
    "llama-bias": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**SIZES, head_dim=8, sliding_window=None),
    "gemma3": Gemma3TextConfig(**{**SIZES, "num_hidden_layers": 7}, head_dim=8, sliding_window=64),
}
HYBRID: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": 5,
    "head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 6,
    "linear_value_head_dim": 10,
}
QWEN3_5 = Qwen3_5TextConfig(**HYBRID)


def model_and_shape(name: str, tied: bool) -> tuple[torch.nn.Module, ModelShape]:
    given = {**ARCHITECTURES, "qwen3.5": QWEN3_5}[name]
    config = given.__class__(**{**given.to_dict(), "tie_word_embeddings": tied})
    # Its matrix products can be counted; those of fused kernels cannot all.
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    # What a config.json leaves out is transformers' default; its kind is always there.
    said = {"model_type": config.model_type, **config.to_diff_dict()}
    return model, ModelShape.of_config(said)


def counted_flops(model: torch.nn.Module, length: int) -> dict[str, int]:
    """Return torch's count of a forward pass by operator; it counts attention in full."""
    ids = torch.arange(length)[None] % SIZES["vocab_size"]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False)
    return {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "qwen3.5"])
def test_parameters_are_those_of_the_real_model(name: str, tied: bool) -> None:
    model, shape = model_and_shape(name, tied)
    assert shape.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_flops_are_those_that_torch_counts(name: str) -> None:
    model, shape = model_and_shape(name, tied=False)
    length = 11
    counts = counted_flops(model, length)
    attention = counts.pop("aten.bmm")
    # Torch counts all pairs of tokens, we those at or below the diagonal.
    full = shape.attention_flops([length]) * 2 * length / (length + 1)
    assert attention == full
    assert sum(counts.values()) == shape.forward_flops([length], length) - shape.attention_flops(
        [length]
    )


def test_flops_of_linear_attention_are_those_that_torch_counts() -> None:
    model, shape = model_and_shape("qwen3.5", tied=False)
    length, chunk = 64, 64
    assert shape.delta is not None
    counts = counted_flops(model, length)
    # A convolution is no product of matrices.
    del counts["aten.convolution"]
    delta = shape.delta
    rule = length * delta.layers * delta.token_flops
    causal = shape.attention_flops([length]) - rule
    # In a chunk transformers does products of tokens with tokens, which the rule does without.
    within = 2 * chunk * (2 * delta.key_dim + delta.value_dim) * delta.value_heads
    full = causal * 2 * length // (length + 1)
    assert counts.pop("aten.bmm") == full + rule + length * delta.layers * within
    expected = shape.forward_flops([length], length) - shape.attention_flops([length])
    assert sum(counts.values()) == expected


def test_of_a_model_that_sees_pictures_the_language_model_counts() -> None:
    text = ARCHITECTURES["gemma3"].to_dict()
    both = {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 3}}
    assert ModelShape.of_config(both) == ModelShape.of_config(text)
    assert ModelShape.of_config({**both, "tie_word_embeddings": False}).tied is False


@given(lengths=st.lists(st.integers(1, 60), min_size=1), window=st.integers(1, 70))
def test_five_of_six_layers_of_gemma_see_a_window(lengths: list[int], window: int) -> None:
    shape = ModelShape.of_config(
        {**QWEN3, "model_type": "gemma3_text", "num_hidden_layers": 13, "sliding_window": window}
    )
    near = sum(min(place, window) for n in lengths for place in range(1, n + 1))
    all_pairs = sum(n * (n + 1) // 2 for n in lengths)
    assert shape.attention_flops(lengths) == 4 * 6 * 8 * (11 * near + 2 * all_pairs)


def test_only_completion_tokens_go_through_the_head() -> None:
    shape = ModelShape.of_config(QWEN3)
    head = shape.forward_flops([10, 20], 25) - shape.forward_flops([10, 20], 0)
    assert head == 2 * 25 * 97 * 24


def test_training_costs_three_forward_passes_and_a_frozen_weak_model_one() -> None:
    strong = ModelShape.of_config(QWEN3)
    weak = ModelShape.of_config({**QWEN3, "hidden_size": 12})
    forward, of_weak = strong.forward_flops([9, 4], 7), weak.forward_flops([9, 4], 7)
    assert train_flops(strong, None, "cotrain", [9, 4], 7) == 3 * forward
    assert train_flops(strong, weak, "cotrain", [9, 4], 7) == 3 * (forward + of_weak)
    assert train_flops(strong, weak, "frozen", [9, 4], 7) == 3 * forward + of_weak


@given(lengths=st.lists(st.integers(1, 60), min_size=1), window=st.none() | st.integers(1, 70))
def test_attention_counts_the_pairs_that_see_each_other(
    lengths: list[int], window: int | None
) -> None:
    shape = ModelShape.of_config({**QWEN3, "model_type": "mistral", "sliding_window": window})
    seen = sum(min(place, window or place) for n in lengths for place in range(1, n + 1))
    assert shape.attention_flops(lengths) == 4 * 3 * 6 * 8 * seen


@pytest.mark.parametrize(
    ("hidden", "intermediate", "tied", "billions"),
    [(2560, 9728, True, 4.02), (4096, 12288, False, 8.19)],
    ids=["Qwen3-4B", "Qwen3-8B"],
)
def test_published_sizes(hidden: int, intermediate: int, tied: bool, billions: float) -> None:
    shape = ModelShape.of_config(
        {
            "model_type": "qwen3",
            "hidden_size": hidden,
            "num_hidden_layers": 36,
            "intermediate_size": intermediate,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": tied,
        }
    )
    assert round(shape.parameters / 1e9, 2) == billions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "qwen3_moe", "num_experts": 128}, "is a mixture of experts (num_experts)"),
        ({"model_type": "gemma2"}, "it knows qwen2, qwen3, qwen3_5_text, llama, mistral"),
        (
            {"model_type": "gemma3_text", "layer_types": ["chunked_attention"] * 3},
            "layers of chunked_attention, which wmss cannot count",
        ),
        ({"hidden_size": None}, "hidden_size is None, expected a number above 0"),
        ({"head_dim": None}, "head_dim is None"),
        ({"num_key_value_heads": 0}, "num_key_value_heads is 0"),
        ({"use_sliding_window": True}, "use a model without it"),
    ],
)
def test_what_cannot_be_counted_is_said_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        ModelShape.of_config({**QWEN3, **change}, "models/x/config.json")
    assert message in str(error.value)
    assert str(error.value).startswith("models/x/config.json: ")
    assert "\n" not in str(error.value)


def test_a_folder_is_read(tiny_model: Path) -> None:
    shape = ModelShape.of_folder(tiny_model)
    assert (shape.layers, shape.hidden_size, shape.tied) == (2, 32, True)
