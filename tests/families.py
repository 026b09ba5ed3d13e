"""Tiny models of every family that is tried, by name, with all that sets a family apart."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from tiny import make_tiny_tokenizer
from transformers import PreTrainedConfig, PreTrainedModel

from wmss_cli.models.matching import model_class

VOCAB = 50
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GPT: dict[str, Any] = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
DELTA: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
MAMBA: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}
MIXED_WINDOWS: dict[str, Any] = {
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention"],
}
LATENT: dict[str, Any] = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 6,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "head_dim": 4,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
MLLAMA_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_global_layers": 1,
    "attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "intermediate_layers_indices": [0],
}
QWEN_VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
}

BERT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 0,
}

FALCON = {key: value for key, value in SMALL.items() if key != "head_dim"}

PACKED: dict[str, dict[str, Any]] = {
    "Llama": SMALL,
    "Mistral": {**SMALL, "sliding_window": 3},
    "Mixtral": {**SMALL, "num_local_experts": 4},
    "Qwen2": SMALL,
    "Qwen2Moe": {**SMALL, **EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 16},
    "Qwen3": SMALL,
    "Qwen3Moe": {**SMALL, **EXPERTS, "num_experts": 4},
    "Gemma": SMALL,
    "Gemma2": {
        **SMALL,
        **MIXED_WINDOWS,
        "final_logit_softcapping": 0.5,
        "attn_logit_softcapping": 0.5,
    },
    "Gemma3Text": {**SMALL, **MIXED_WINDOWS},
    "Gemma3": {"text_config": {**SMALL, **MIXED_WINDOWS}, "vision_config": VISION},
    "Mllama": {
        "text_config": {**SMALL, "cross_attention_layers": [1], "rope_parameters": ROPE},
        "vision_config": {**MLLAMA_VISION, "vision_output_dim": 32},
    },
    "GptOss": {**SMALL, **MIXED_WINDOWS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "Granite": {**SMALL, "logits_scaling": 4.0, "residual_multiplier": 0.5},
    "Cohere": {**SMALL, "logit_scale": 0.25},
    "Cohere2": {**SMALL, **MIXED_WINDOWS, "logit_scale": 0.25},
    "HyperCLOVAX": {**SMALL, "logits_scaling": 4.0},
    "Phi": SMALL,
    "Phi3": {**SMALL, "sliding_window": 3},
    "Olmo2": SMALL,
    "Olmo3": {**SMALL, **MIXED_WINDOWS},
    "SmolLM3": SMALL,
    "Glm": SMALL,
    "Glm4": SMALL,
    "Ernie4_5": SMALL,
    "SeedOss": SMALL,
    "HunYuanDenseV1": SMALL,
    "Exaone4": {**SMALL, **MIXED_WINDOWS},
    "Starcoder2": {**SMALL, "sliding_window": 3},
    "GPT2": {**GPT, "n_positions": 64},
    "GPTNeoX": SMALL,
    "DeepseekV3": {**SMALL, **EXPERTS, **LATENT},
    # Layers of their own stand before the head.
    "Bert": {**BERT, "is_decoder": True},
    "ModernBertDecoder": {
        **SMALL,
        "local_attention": 4,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}
"""Name of the configuration's class, without ``Config``, and its sizes."""

ROWS: dict[str, dict[str, Any]] = {
    "StableLm": SMALL,
    "Llama4Text": {
        **SMALL,
        "intermediate_size_mlp": 48,
        "num_local_experts": 2,
        "attention_chunk_size": 3,
        "layer_types": ["chunked_attention", "full_attention"],
        "moe_layers": [1],
    },
    "Falcon": {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2},
    "Bloom": {"vocab_size": VOCAB, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "GPTJ": {**GPT, "n_positions": 64, "rotary_dim": 4},
    "Nemotron": SMALL,
    "Qwen3Next": {**SMALL, **DELTA, **EXPERTS, "num_experts": 4},
    "Qwen3_5Text": {**SMALL, **DELTA},
    "Qwen3_5": {"text_config": {**SMALL, **DELTA}, "vision_config": QWEN_VISION},
    "Lfm2": {**SMALL, "layer_types": ["conv", "full_attention"]},
    "Mamba": {**MAMBA, "state_size": 8},
    "Mamba2": {**MAMBA, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "FalconMamba": {**MAMBA, "state_size": 8},
    "FalconH1": {
        **SMALL,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "lm_head_multiplier": 0.5,
    },
    "GPTNeo": {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 64,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 3,
    },
    # Layers of their own stand before the head.
    "Roberta": {**BERT, "is_decoder": True, "max_position_embeddings": 64},
    "RemBert": {**BERT, "is_decoder": True, "input_embedding_size": 16},
}
"""The same of models that cannot tell documents in one row apart, here or anywhere."""

CLASSES = {
    "Mllama": "MllamaForConditionalGeneration",
    "Gemma3": "Gemma3ForConditionalGeneration",
    "Qwen3_5": "Qwen3_5ForConditionalGeneration",
}
"""What their folders name; the others are the causal language models of their types."""


def config_of(name: str, vocab_size: int = VOCAB) -> PreTrainedConfig:
    sizes = copy.deepcopy({**PACKED, **ROWS}[name])
    sizes.get("text_config", sizes)["vocab_size"] = vocab_size
    config: PreTrainedConfig = getattr(transformers, f"{name}Config")(**sizes)
    if name in CLASSES:
        config.architectures = [CLASSES[name]]
    return config


def tiny(name: str, seed: int = 0, vocab_size: int = VOCAB) -> PreTrainedModel:
    """Make a model with random fp32 weights, large enough that what is wrong shows."""
    config = config_of(name, vocab_size)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cast(PreTrainedModel, model_class(config)(config).eval())
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3.0)
                else:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_family(folder: Path, name: str, seed: int = 0) -> Path:
    """Write such a model, and the tokenizer of the other tiny ones, into a folder."""
    tokenizer = make_tiny_tokenizer()
    # Where a family has tokens of its own, its tokenizer adds them when it is loaded.
    tiny(name, seed, len(tokenizer) + 32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
