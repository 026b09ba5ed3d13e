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
    size = _CPU_ROWS if z.device.type == "cpu" else len(z)
    log_p, p = torch.empty_like(z[:size]), torch.empty_like(z[:size])
    parts = []
    for rows in z.split(size):
        count = len(rows)
        torch.log_softmax(rows, dim=-1, out=log_p[:count])
        torch.exp(log_p[:count], out=p[:count])
        # log_softmax adds up a large vocabulary in plain fp32, which leaves sum p off 1 by some
        # 1e-5; the entropy of p / sum p is right.
        norm = p[:count].sum(dim=-1)
        energy = torch.linalg.vecdot(p[:count], log_p[:count])
        parts.append(norm.log() - energy / norm)
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
