"""The shape of a model, from its ``config.json``: parameters and FLOPs, without torch.

What is counted is what the method needs, whatever runs it: matrix products only, causal attention
as causal, no embedding look-up, and the head only where it predicts a completion token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import read_config

TRAINING = 3
"""A step costs so many forward passes: itself, and the gradients of its inputs and its weights."""

_SIZES = {
    "layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "heads": "num_attention_heads",
    "vocab_size": "vocab_size",
}
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class DeltaNet:
    """Linear attention that stands for attention in some blocks: the gated delta rule.

    Attributes
    ----------
    layers : int
        Blocks that have it.
    key_heads, value_heads, key_dim, value_dim : int
        Numbers of heads, and the size of one.
    kernel : int
        Tokens that the convolution before it sees.
    """

    layers: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int

    @property
    def mixed(self) -> int:
        """Numbers of all queries, keys and values of a token."""
        return 2 * self.key_heads * self.key_dim + self.values

    @property
    def values(self) -> int:
        """Numbers of all values of a token."""
        return self.value_heads * self.value_dim

    def matrix_parameters(self, hidden_size: int) -> int:
        """Return the weights of the products of one block: in, gate, decay and rate, out."""
        return hidden_size * (self.mixed + 2 * self.values + 2 * self.value_heads)

    @property
    def other_parameters(self) -> int:
        """The convolution of one block, its decays, and its norm."""
        return self.kernel * self.mixed + 2 * self.value_heads + self.value_dim

    @property
    def token_flops(self) -> int:
        """FLOPs of a token in one block: what its state says of the key, its change, its answer."""
        return 3 * 2 * self.value_heads * self.key_dim * self.value_dim


@dataclass(frozen=True)
class ModelShape:
    """A decoder: blocks of attention with grouped keys, and a gated product (SwiGLU, GeGLU).

    Attributes
    ----------
    layers, hidden_size, intermediate_size, heads, kv_heads, head_dim, vocab_size : int
        As in a ``config.json``.
    tied : bool
        Whether the head is the embedding.
    qk_norm : bool
        Whether queries and keys are normalised, each head by one weight per dimension.
    qkv_bias, output_bias, mlp_bias : bool
        Which products have a bias.
    window : int or None
        How many tokens a token sees, itself included, where attention is cut.
    full_layers : int
        Layers whose attention is whole although there is a window.
    norms : int
        Norms of the hidden state in one block.
    wide_norms : bool
        Whether a norm's result is scaled before it is rounded (Gemma, Qwen3.5).
    output_gate : bool
        Whether the result of attention is multiplied by a gate of its own.
    delta : DeltaNet or None
        What some blocks have in place of attention.
    """

    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    tied: bool
    qk_norm: bool = False
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    window: int | None = None
    full_layers: int = 0
    norms: int = 2
    wide_norms: bool = False
    output_gate: bool = False
    delta: DeltaNet | None = None

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str = "config.json") -> ModelShape:
        """Read a shape from what a ``config.json`` says.

        Parameters
        ----------
        config : mapping
            Of a Qwen2, Qwen3, Qwen3.5, Llama (SmolLM2 is one), Mistral or Gemma 3 model. Of a model
            that sees pictures, too, the language model is counted.
        where : str
            Named in errors.

        Raises
        ------
        ConfigError
            If it is of another architecture, a mixture of experts, or a size is missing.
        """
        whole = config
        if isinstance(config.get("text_config"), Mapping):
            config = config["text_config"]
        kind = config.get("model_type")
        config = _DEFAULTS.get(kind or "", {}) | {
            name: value for name, value in config.items() if value is not None
        }
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
            # Qwen would cut attention in its upper layers only.
            raise ConfigError(
                f"{where}: use_sliding_window is set, whose attention wmss cannot count; "
                "use a model without it"
            )
        sizes: dict[str, Any] = {
            ours: _size(config, theirs, where) for ours, theirs in _SIZES.items()
        }
        heads = sizes["heads"]
        # Only where transformers would take the same.
        default = heads if kind == "llama" or "num_key_value_heads" in config else None
        return cls(
            **sizes,
            kv_heads=_size(config, "num_key_value_heads", where, default),
            head_dim=_size(
                config,
                "head_dim",
                where,
                None if kind == "qwen3" else sizes["hidden_size"] // heads,
            ),
            tied=bool(
                whole.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
            ),
            **_ARCHITECTURES[kind](config, where),
        )

    @classmethod
    def of_folder(cls, folder: Path) -> ModelShape:
        """Read a shape from a model folder (see :meth:`of_config`)."""
        return cls.of_config(read_config(folder), str(folder / "config.json"))

    @property
    def head_parameters(self) -> int:
        """Weights of the head, tied or not."""
        return self.vocab_size * self.hidden_size

    @property
    def attention_layers(self) -> int:
        """Blocks that have attention."""
        return self.layers - (0 if self.delta is None else self.delta.layers)

    @property
    def backbone_matrix_parameters(self) -> int:
        """Weights that each token is multiplied with on its way to the last hidden state."""
        matrices = self.attention_layers * self.block_matrix_parameters
        if self.delta is not None:
            one = self.delta.matrix_parameters(self.hidden_size) + self._feed_forward
            matrices += self.delta.layers * one
        return matrices

    @property
    def block_matrix_parameters(self) -> int:
        """The same of one block with attention."""
        gate = self.heads * self.output_gate
        attention = self.hidden_size * (2 * (self.heads + self.kv_heads) + gate) * self.head_dim
        return attention + self._feed_forward

    @property
    def _feed_forward(self) -> int:
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def block_parameters(self) -> int:
        """All parameters of one block with attention: matrices, norms and biases."""
        norms = self.norms * self.hidden_size + 2 * self.head_dim * self.qk_norm
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim * self.qkv_bias
        biases += self.hidden_size * self.output_bias
        biases += (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        return self.block_matrix_parameters + norms + biases

    @property
    def parameters(self) -> int:
        """All parameters; a head that is the embedding counts once."""
        embeddings = self.head_parameters * (1 if self.tied else 2)
        blocks = self.attention_layers * self.block_parameters
        if self.delta is not None:
            one = self.delta.matrix_parameters(self.hidden_size) + self.delta.other_parameters
            one += self._feed_forward + self.norms * self.hidden_size
            blocks += self.delta.layers * one
        return embeddings + blocks + self.hidden_size

    def attention_flops(self, lengths: Iterable[int]) -> int:
        """Return the FLOPs of queries by keys and of weights by values, forward, as causal.

        Of linear attention, those of the delta rule, token by token.
        """
        documents = list(lengths)
        cut = 0 if self.window is None else self.attention_layers - self.full_layers
        pairs = sum(
            layers * self._pairs(length, window)
            for length in documents
            for layers, window in ((cut, self.window), (self.attention_layers - cut, None))
        )
        flops = 4 * self.heads * self.head_dim * pairs
        if self.delta is not None:
            flops += sum(documents) * self.delta.layers * self.delta.token_flops
        return flops

    @staticmethod
    def _pairs(length: int, window: int | None) -> int:
        """Return how many (query, key) pairs see each other in a document."""
        seen = length if window is None else min(length, window)
        return seen * (seen + 1) // 2 + (length - seen) * seen

    def forward_flops(self, lengths: Iterable[int], head_tokens: int) -> int:
        """Return the FLOPs of a forward pass.

        Parameters
        ----------
        lengths : iterable of int
            Tokens of each document; attention stays within one.
        head_tokens : int
            Positions that go through the head: the completion tokens.
        """
        documents = [int(length) for length in lengths]
        linear = 2 * sum(documents) * self.backbone_matrix_parameters
        head = 2 * head_tokens * self.head_parameters
        return linear + self.attention_flops(documents) + head


def train_flops(
    strong: ModelShape,
    weak: ModelShape | None,
    weak_mode: Literal["cotrain", "frozen"],
    lengths: Iterable[int],
    head_tokens: int,
) -> int:
    """Return the FLOPs that training on these documents needs, without recomputation.

    Parameters
    ----------
    strong : ModelShape
        Learns: three forward passes.
    weak : ModelShape or None
        Three forward passes where it is co-trained, one where it is frozen.
    weak_mode : {"cotrain", "frozen"}
        Of the weak model.
    lengths, head_tokens
        As in :meth:`ModelShape.forward_flops`.
    """
    documents = list(lengths)
    flops = TRAINING * strong.forward_flops(documents, head_tokens)
    if weak is not None:
        times = TRAINING if weak_mode == "cotrain" else 1
        flops += times * weak.forward_flops(documents, head_tokens)
    return flops


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
        # The gate would have one, too.
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
    """Count the layers that are not whole attention: those listed, else all but every n-th."""
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
"""What transformers takes where a ``config.json`` is silent: Google's say only what differs."""
