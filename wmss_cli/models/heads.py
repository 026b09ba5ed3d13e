"""The head of a language model, from the last hidden states to its logits.

Most models multiply with a matrix. Some also add a bias (Phi), scale the product (Cohere, Granite,
Falcon-H1) or cap it (Gemma 2): all of that is part of the head, and of its gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError

_CPU_COLUMNS = 1024
# This many rows of a head stay in a CPU's cache while all tokens pass over them: 10 % faster.

_CAPS = ("final_logit_softcapping", "output_logit_soft_cap", "logits_soft_cap")
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)


@dataclass(frozen=True)
class Head:
    """``cap * tanh((scale * hidden @ weightᵀ + bias) / cap)``; without a cap, the value inside.

    Attributes
    ----------
    weight : Tensor
        ``[vocab, hidden]``; tied to the embeddings or not.
    bias : Tensor or None
        ``[vocab]``.
    scale : float
        Scale of the product.
    cap : float or None
        The logits are within ±cap.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    cap: float | None = None

    @property
    def vocab_size(self) -> int:
        """Number of logits of a token."""
        return len(self.weight)

    @property
    def is_product(self) -> bool:
        """Whether the logits are only a product, scaled or not."""
        return self.bias is None and self.cap is None

    def detach(self) -> Head:
        """Return the head without gradients."""
        bias = None if self.bias is None else self.bias.detach()
        return Head(self.weight.detach(), bias, self.scale, self.cap)

    def clone(self) -> Head:
        """Return a copy of the head with weights of its own."""
        bias = None if self.bias is None else self.bias.clone()
        return Head(self.weight.clone(), bias, self.scale, self.cap)

    def columns(self, place: slice) -> Head:
        """Return the head for a part of the vocabulary."""
        bias = None if self.bias is None else self.bias[place]
        return Head(self.weight[place], bias, self.scale, self.cap)

    def logits(self, hidden: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the logits of hidden states, ``[tokens, vocab]``; with autograd.

        Parameters
        ----------
        hidden : Tensor
            ``[tokens, hidden]``.
        dtype : torch.dtype, optional
            The type of scale, bias and cap; without it they are as narrow as the product.
        """
        z = hidden @ self.weight.T
        if dtype is not None:
            z = z.to(dtype)
        if self.scale != 1.0:
            z = z * self.scale
        if self.bias is not None:
            z = z + self.bias
        return z if self.cap is None else torch.tanh(z / self.cap) * self.cap


def candidates(model: PreTrainedModel) -> list[Head]:
    """Return the heads that a model may have by its configuration, the likeliest first.

    Not every model uses all that its configuration says, and some multiply where others divide:
    :func:`wmss_cli.models.forms.choose_form` finds out which one is right.

    Raises
    ------
    ConfigError
        If the model has no head.
    """
    module = cast(Any, model).get_output_embeddings()
    if module is None:
        raise ConfigError(
            f"{model.config.model_type}: this model has no language-model head; use a causal "
            "language model"
        )
    config = model.config.get_text_config()
    scale = 1.0
    for name in _FACTORS:
        scale *= _number(config, name) or 1.0
    for name in _DIVISORS:
        scale /= _number(config, name) or 1.0
    cap = next((found for name in _CAPS if (found := _number(config, name))), None)
    bias = getattr(module, "bias", None)
    kinds = dict.fromkeys(product((scale, 1.0 / scale, 1.0), (cap, None)))
    return [Head(module.weight, bias, *kind) for kind in kinds]


def remember(model: PreTrainedModel, head: Head) -> None:
    """Make :func:`head_of` return a head of this kind."""
    cast(Any, model)._wmss_head = (head.scale, head.cap)


def head_of(model: PreTrainedModel) -> Head:
    """Return the head of a model, with its current weights.

    Raises
    ------
    ConfigError
        If it has none.
    """
    first = candidates(model)[0]
    scale, cap = getattr(model, "_wmss_head", (first.scale, first.cap))
    return Head(first.weight, first.bias, scale, cap)


def _number(config: Any, name: str) -> float | None:
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) else None


def write_logits(
    out: Tensor, hidden: Tensor, head: Tensor, keep: float = 0.0, share: float = 1.0
) -> Tensor:
    """Set ``out = keep * out + share * hidden @ headᵀ`` and return it.

    Parameters
    ----------
    out : Tensor
        ``[tokens, vocab]``; with ``keep = 0`` its content does not matter.
    hidden : Tensor
        ``[tokens, hidden]``.
    head : Tensor
        ``[vocab, hidden]``.
    """
    columns = _CPU_COLUMNS if out.device.type == "cpu" else len(head)
    for block, weights in zip(out.split(columns, dim=1), head.split(columns), strict=True):
        block.addmm_(hidden, weights.T, beta=keep, alpha=share)
    return out
