"""The mixed loss as the paper's authors compute it: with all logits of both models, stacked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def stacked_cross_entropy(logits: Sequence[Tensor], labels: Tensor, mix_lambda: float) -> Tensor:
    """Return the sum of the losses in nats, with gradients by autograd.

    Parameters
    ----------
    logits : sequence of Tensor
        ``[tokens, vocab]`` for the weak and for the strong model.
    labels : Tensor
        ``[tokens]``.
    mix_lambda : float
        Lambda, the share of the strong model.
    """
    stacked = torch.stack(list(logits))
    mixed = (1.0 - mix_lambda) * stacked[0] + mix_lambda * stacked[1]
    return F.cross_entropy(mixed.float(), labels, reduction="sum")
