"""Entropy of next-token distributions (Eq. 8)."""

from __future__ import annotations

import torch
from torch import Tensor


def token_entropy(logits: Tensor) -> Tensor:
    """Return H = -sum p log p of each next-token distribution, in nats.

    Computed as log-sum-exp(z) - sum p·z, in fp32 where the logits are narrower.

    Parameters
    ----------
    logits : Tensor
        ``[tokens, vocab]``.

    Returns
    -------
    Tensor
        ``[tokens]``.
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    # Shifted, so that the two terms stay small and their difference exact.
    shifted = logits - logits.amax(dim=-1, keepdim=True)
    log_norm = shifted.logsumexp(dim=-1)
    probability = (shifted - log_norm.unsqueeze(-1)).exp()
    # 0 * -inf is NaN, the limit of p log p is 0: a token that was ruled out adds nothing.
    energy = torch.where(probability > 0, probability * shifted, torch.zeros_like(shifted))
    return (log_norm - energy.sum(dim=-1)).clamp_min(0.0)


def mean_by_row(values: Tensor, tokens_per_row: Tensor) -> Tensor:
    """Return the mean of each row's values.

    Parameters
    ----------
    values : Tensor
        ``[tokens]``, row after row.
    tokens_per_row : Tensor
        ``[rows]``, each at least 1, with sum `tokens`.
    """
    rows = torch.repeat_interleave(
        torch.arange(len(tokens_per_row), device=values.device), tokens_per_row
    )
    sums = torch.zeros(len(tokens_per_row), dtype=torch.float64, device=values.device)
    return sums.index_add_(0, rows, values.double()) / tokens_per_row
