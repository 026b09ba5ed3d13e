"""The shape of a model, from its ``config.json``: parameters and FLOPs, without torch.

It counts what the method needs, whatever runs it: only matrix products, causal attention as causal,
no embedding look-up, and the head only if it predicts a completion token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wmss_cli.models.architectures import read_sizes
from wmss_cli.models.delta_net import DeltaNet
from wmss_cli.models.folder import read_config

TRAINING = 3
"""A step costs this many forward passes: itself, and the gradients of inputs and weights."""


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
        Number of tokens that a token attends to, including itself, in layers with a window.
    full_layers : int
        Number of layers with full attention in a model with a window.
    norms : int
        Number of norms of the hidden state in one block.
    wide_norms : bool
        Whether a norm's result is scaled before it is rounded (Gemma, Qwen3.5).
    output_gate : bool
        Whether the result of attention is multiplied by a gate of its own.
    delta : DeltaNet or None
        What some blocks have instead of attention.
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
        """Read a shape from the content of a ``config.json``.

        Parameters
        ----------
        config : mapping
            From a Qwen2, Qwen3, Qwen3.5, Llama (SmolLM2 is one), Mistral or Gemma 3 model. If the
            model also reads images, its language model is counted.
        where : str
            The name for errors.

        Raises
        ------
        ConfigError
            If it has another architecture, is a mixture of experts, or lacks a size.
        """
        return cls(**read_sizes(config, where))

    @classmethod
    def of_folder(cls, folder: Path) -> ModelShape:
        """Read a shape from a model folder (see :meth:`of_config`)."""
        return cls.of_config(read_config(folder), str(folder / "config.json"))

    @property
    def head_parameters(self) -> int:
        """Number of weights of the head, tied or not."""
        return self.vocab_size * self.hidden_size

    @property
    def attention_layers(self) -> int:
        """Number of blocks that have attention."""
        return self.layers - (0 if self.delta is None else self.delta.layers)

    @property
    def backbone_matrix_parameters(self) -> int:
        """Number of weights that each token is multiplied with before the last hidden state."""
        matrices = self.attention_layers * self.block_matrix_parameters
        if self.delta is not None:
            one = self.delta.matrix_parameters(self.hidden_size) + self._feed_forward
            matrices += self.delta.layers * one
        return matrices

    @property
    def block_matrix_parameters(self) -> int:
        """The same number for one block with attention."""
        gate = self.heads * self.output_gate
        attention = self.hidden_size * (2 * (self.heads + self.kv_heads) + gate) * self.head_dim
        return attention + self._feed_forward

    @property
    def _feed_forward(self) -> int:
        return 3 * self.hidden_size * self.intermediate_size

    @property
    def block_parameters(self) -> int:
        """Number of parameters of one block with attention: matrices, norms and biases."""
        norms = self.norms * self.hidden_size + 2 * self.head_dim * self.qk_norm
        biases = (self.heads + 2 * self.kv_heads) * self.head_dim * self.qkv_bias
        biases += self.hidden_size * self.output_bias
        biases += (2 * self.intermediate_size + self.hidden_size) * self.mlp_bias
        return self.block_matrix_parameters + norms + biases

    @property
    def parameters(self) -> int:
        """Number of all parameters; a head that is the embedding counts once."""
        embeddings = self.head_parameters * (1 if self.tied else 2)
        blocks = self.attention_layers * self.block_parameters
        if self.delta is not None:
            one = self.delta.matrix_parameters(self.hidden_size) + self.delta.other_parameters
            one += self._feed_forward + self.norms * self.hidden_size
            blocks += self.delta.layers * one
        return embeddings + blocks + self.hidden_size

    def attention_flops(self, lengths: Iterable[int]) -> int:
        """Return the FLOPs of queries times keys and of weights times values, forward and causal.

        For linear attention, those of the delta rule, token by token.
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
        """Return the number of (query, key) pairs in a document that attend to each other."""
        seen = length if window is None else min(length, window)
        return seen * (seen + 1) // 2 + (length - seen) * seen

    def forward_flops(self, lengths: Iterable[int], head_tokens: int) -> int:
        """Return the FLOPs of a forward pass.

        Parameters
        ----------
        lengths : iterable of int
            Length of each document; attention stays within a document.
        head_tokens : int
            Number of positions that go through the head: the completion tokens.
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
        The trained model: three forward passes.
    weak : ModelShape or None
        Three forward passes if it is co-trained, one if it is frozen.
    weak_mode : {"cotrain", "frozen"}
        Whether the weak model is trained, too.
    lengths, head_tokens
        As in :meth:`ModelShape.forward_flops`.
    """
    documents = list(lengths)
    flops = TRAINING * strong.forward_flops(documents, head_tokens)
    if weak is not None:
        times = TRAINING if weak_mode == "cotrain" else 1
        flops += times * weak.forward_flops(documents, head_tokens)
    return flops
