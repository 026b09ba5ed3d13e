"""The shape of a model by its ``config.json``, for each architecture, as transformers reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.delta_net import DeltaNet

_SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "heads": "num_attention_heads",
    "vocab_size": "vocab_size",
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


def read_sizes(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the attributes of a :class:`wmss_cli.models.shape.ModelShape`.

    Parameters
    ----------
    config : mapping
        The content of a ``config.json``. If the model also reads images, its language model counts.
    where : str
        The name for errors.

    Raises
    ------
    ConfigError
        If the architecture is unknown or a mixture of experts, or a size is missing.
    """
    whole = config
    if isinstance(config.get("text_config"), Mapping):
        config = config["text_config"]
    kind = config.get("model_type")
    silent = {n: v for n, v in _DEFAULTS.get(kind or "", {}).items() if config.get(n) is None}
    config = {**config, **silent}
    experts = [name for name in _EXPERTS if config.get(name)]
    if experts:
        raise ConfigError(
            f"{where}: {kind} is a mixture of experts ({experts[0]}), which wmss cannot count; "
            "use a dense model"
        )
    if kind not in _ARCHITECTURES:
        known = ", ".join(_ARCHITECTURES)
        raise ConfigError(
            f"{where}: model_type is {kind!r}, whose sizes wmss cannot count; it knows {known}"
        )
    if config.get("use_sliding_window"):
        # Qwen would use the window in its upper layers only.
        raise ConfigError(
            f"{where}: use_sliding_window is set, whose attention wmss cannot count; "
            "use a model without it"
        )
    sizes: dict[str, Any] = {ours: _size(config, theirs, where) for ours, theirs in _SIZES.items()}
    heads = sizes["heads"]
    # Only if transformers would take the same value.
    default = heads if kind == "llama" or "num_key_value_heads" in config else None
    return dict(
        **sizes,
        kv_heads=_size(config, "num_key_value_heads", where, default),
        head_dim=_size(
            config,
            "head_dim",
            where,
            None if kind == "qwen3" else sizes["hidden_size"] // heads,
        ),
        tied=bool(whole.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        **_ARCHITECTURES[kind](config, where),
    )


def _size(config: Mapping[str, Any], name: str, where: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{where}: {name} is {value!r}, expected a number above 0; is it whole?")
    return value


def _qwen2(_: Mapping[str, Any], __: str) -> dict[str, Any]:
    return {"qkv_bias": True}


def _qwen3(config: Mapping[str, Any], _: str) -> dict[str, Any]:
    biased = bool(config.get("attention_bias", False))
    return {"qk_norm": True, "qkv_bias": biased, "output_bias": biased}


def _qwen3_5(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    linear = _layers_of("linear_attention", config, where, "full_attention_interval")
    if config.get("attention_bias"):
        # The gate would have a bias, too.
        raise ConfigError(f"{where}: attention_bias is set, which wmss cannot count here")
    sizes = {
        "key_heads": "linear_num_key_heads",
        "value_heads": "linear_num_value_heads",
        "key_dim": "linear_key_head_dim",
        "value_dim": "linear_value_head_dim",
        "kernel": "linear_conv_kernel_dim",
    }
    delta = {ours: _size(config, theirs, where) for ours, theirs in sizes.items()}
    return {
        "qk_norm": True,
        "wide_norms": True,
        "output_gate": True,
        "delta": DeltaNet(layers=linear, **delta) if linear else None,
    }


def _gemma3(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    cut = _layers_of("sliding_attention", config, where, "sliding_window_pattern")
    layers = _size(config, "num_hidden_layers", where)
    return {
        **_qwen3(config, where),
        "norms": 4,
        "wide_norms": True,
        "window": _size(config, "sliding_window", where),
        "full_layers": layers - cut,
    }


def _layers_of(kind: str, config: Mapping[str, Any], where: str, interval: str) -> int:
    """Count the layers without full attention: those listed, else all but every n-th."""
    listed = config.get("layer_types")
    if listed is not None:
        other = set(listed) - {kind, "full_attention"}
        if other:
            raise ConfigError(f"{where}: layers of {min(other)}, which wmss cannot count")
        return list(listed).count(kind)
    layers = _size(config, "num_hidden_layers", where)
    return layers - layers // _size(config, interval, where)


def _llama(config: Mapping[str, Any], _: str) -> dict[str, Any]:
    biased = bool(config.get("attention_bias", False))
    return {
        "qkv_bias": biased,
        "output_bias": biased,
        "mlp_bias": bool(config.get("mlp_bias", False)),
    }


def _mistral(config: Mapping[str, Any], _: str) -> dict[str, Any]:
    return {"window": config.get("sliding_window")}


_ARCHITECTURES: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "qwen3_5_text": _qwen3_5,
    "llama": _llama,
    "mistral": _mistral,
    "gemma3_text": _gemma3,
}

_DEFAULTS: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 248320,
        "full_attention_interval": 4,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
    },
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "tie_word_embeddings": True,
    },
}
"""Defaults of transformers, since Google's ``config.json`` files contain only differences."""
