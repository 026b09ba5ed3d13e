"""Entropy of next-token distributions (Eq. 8), without all their logits."""

from __future__ import annotations

import torch
from torch import Tensor

from wmss_cli.models.logits import write_logits

LOGITS_BYTES = 256 * 2**20
"""Memory for the logits of a chunk of tokens."""

_CPU_ROWS = 8
# Rows of logits that stay in a CPU's cache while the entropy passes over them several times.


def head_entropy(hidden: Tensor, head: Tensor, logits_bytes: int = LOGITS_BYTES) -> Tensor:
    """Return H = -sum p log p of the distributions softmax(hidden @ headᵀ), in nats.

    A chunk of tokens at a time goes through the head. log p is z less its log-sum-exp, in fp32
    where the logits are narrower.

    Parameters
    ----------
    hidden : Tensor
        ``[tokens, hidden]``, the last hidden states.
    head : Tensor
        ``[vocab, hidden]``, finite.
    logits_bytes : int
        Memory for the logits of a chunk, in bytes.

    Returns
    -------
    Tensor
        ``[tokens]``.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    entropy = torch.empty(len(hidden), dtype=dtype, device=hidden.device)
    # Narrow logits stand beside their fp32 copy.
    per_logit = hidden.itemsize + (dtype.itemsize if dtype != hidden.dtype else 0)
    size = max(1, logits_bytes // (len(head) * per_logit))
    buffer = hidden.new_empty(min(size, len(hidden)), len(head))
    for first in range(0, len(hidden), size):
        chunk = hidden[first : first + size]
        z = write_logits(buffer[: len(chunk)], chunk, head)
        entropy[first : first + size] = _entropy_of(z.to(dtype))
    return entropy


def _entropy_of(z: Tensor) -> Tensor:
    """Return the entropies of rows of logits; z is used up."""
    size = _CPU_ROWS if z.device.type == "cpu" else len(z)
    buffer = torch.empty_like(z[:size])
    parts = []
    for rows in z.split(size):
        # With q = exp(z - max z): p = q / sum q, and H = log sum q - sum q (z - max z) / sum q.
        rows.sub_(rows.amax(dim=-1, keepdim=True))
        q = torch.exp(rows, out=buffer[: len(rows)])
        norm = q.sum(dim=-1)
        parts.append(norm.log() - torch.linalg.vecdot(q, rows) / norm)
    return torch.cat(parts).clamp_min(0.0)


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
