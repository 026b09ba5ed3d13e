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
class ModelShape:
    """A decoder of equal blocks: attention with grouped keys, and a gated product (SwiGLU).

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
        How many tokens a token sees, itself included, where attention is cut in all layers.
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

    @classmethod
    def of_config(cls, config: Mapping[str, Any], where: str = "config.json") -> ModelShape:
        """Read a shape from what a ``config.json`` says.

        Parameters
        ----------
        config : mapping
            Of a Qwen2, Qwen3, Llama (SmolLM2 is one) or Mistral model.
        where : str
            Named in errors.

        Raises
        ------
        ConfigError
            If it is of another architecture, a mixture of experts, or a size is missing.
        """
        kind = config.get("model_type")
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
            tied=bool(config.get("tie_word_embeddings", False)),
            **_ARCHITECTURES[kind](config),
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
    def backbone_matrix_parameters(self) -> int:
        """Weights that each token is multiplied with on its way to the last hidden state."""
        return self.layers * self.block_matrix_parameters

    @property
    def block_matrix_parameters(self) -> int:
        """The same of one block."""
        attention = 2 * self.hidden_size * (self.heads + self.kv_heads) * self.head_dim
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def block_parameters(self) -> int:
        """All parameters of one block: matrices, norms and biases."""
        norms = 2 * self.hidden_size + 2 * self.head_dim * self.qk_norm
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim * self.qkv_bias
        biases += self.hidden_size * self.output_bias
        biases += (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        return self.block_matrix_parameters + norms + biases

    @property
    def parameters(self) -> int:
        """All parameters; a head that is the embedding counts once."""
        embeddings = self.head_parameters * (1 if self.tied else 2)
        return embeddings + self.layers * self.block_parameters + self.hidden_size

    def attention_flops(self, lengths: Iterable[int]) -> int:
        """Return the FLOPs of queries by keys and of weights by values, forward, as causal."""
        pairs = sum(self._pairs(length) for length in lengths)
        return 4 * self.layers * self.heads * self.head_dim * pairs

    def _pairs(self, length: int) -> int:
        """Return how many (query, key) pairs see each other in a document."""
        seen = length if self.window is None else min(length, self.window)
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


def _qwen2(_: Mapping[str, Any]) -> dict[str, Any]:
    return {"qkv_bias": True}


def _qwen3(config: Mapping[str, Any]) -> dict[str, Any]:
    biased = bool(config.get("attention_bias", False))
    return {"qk_norm": True, "qkv_bias": biased, "output_bias": biased}


def _llama(config: Mapping[str, Any]) -> dict[str, Any]:
    biased = bool(config.get("attention_bias", False))
    return {
        "qkv_bias": biased,
        "output_bias": biased,
        "mlp_bias": bool(config.get("mlp_bias", False)),
    }


def _mistral(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"window": config.get("sliding_window")}


_ARCHITECTURES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "llama": _llama,
    "mistral": _mistral,
}
