"""Entropy of next-token distributions, without all their logits, and of completions (Eq. 8)."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.models.heads import Head, head_of
from wmss_cli.models.packed import PackedBatch, hidden_states

_TOKENS = 2048
_CPU_COLUMNS = 1024
_GPU_COLUMNS = 16_384
# A block of this many tokens and columns stays in a CPU's cache while it is processed.


@torch.inference_mode()
def completion_entropy(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Return H(M; x) of each document, teacher-forced (Eq. 8), in nats.

    The mean over the completion's tokens of the entropy of the distribution that predicts
    each of them: the logits of position t - 1 for token t.

    Parameters
    ----------
    model : PreTrainedModel
        A model in evaluation mode, as :func:`~wmss_cli.models.forms.choose_form` left it.
    batch : PackedBatch
        A batch on the model's device; each document has at least one token to predict.

    Returns
    -------
    Tensor
        ``[documents]``, float64.
    """
    entropy = head_entropy(hidden_states(model, batch), head_of(model))
    ends = torch.tensor(batch.lengths, device=entropy.device).cumsum(0)
    document = torch.searchsorted(ends, batch.predicting, right=True)
    return mean_by_row(entropy, torch.bincount(document, minlength=len(ends)))


def head_entropy(hidden: Tensor, head: Head) -> Tensor:
    """Return H = -sum p log p of the distributions softmax(head.logits(hidden)), in nats.

    Some columns of the logits are computed at a time, and dropped before the next ones: their sums
    are relative to the largest logit so far. If the logits are narrower, all sums are in fp32.

    Parameters
    ----------
    hidden : Tensor
        ``[tokens, hidden]``, the last hidden states.
    head : Head
        A head with finite weights.

    Returns
    -------
    Tensor
        ``[tokens]``.
    """
    columns = _CPU_COLUMNS if hidden.device.type == "cpu" else _GPU_COLUMNS
    blocks = max(1, -(-len(hidden) // _TOKENS))
    return torch.cat([_entropy(rows, head, columns) for rows in hidden.chunk(blocks)])


def _entropy(hidden: Tensor, head: Head, columns: int) -> Tensor:
    """With q = exp(z - max z): p = q / sum q, and H = log sum q - sum q (z - max z) / sum q."""
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    # The lowest number instead of minus infinity, from which nothing can be subtracted.
    top = hidden.new_full((len(hidden), 1), torch.finfo(dtype).min, dtype=dtype)
    sum_q = hidden.new_zeros(len(hidden), dtype=dtype)
    sum_qz = torch.zeros_like(sum_q)
    for first in range(0, head.vocab_size, columns):
        z = head.columns(slice(first, first + columns)).logits(hidden, dtype)
        new_top = torch.maximum(top, z.amax(dim=-1, keepdim=True))
        # Rescales the sums, which were relative to the old maximum.
        shift = (top - new_top).squeeze(1)
        shrink = shift.exp()
        sum_qz.add_(sum_q * shift).mul_(shrink)
        sum_q.mul_(shrink)
        q = z.sub_(new_top).exp()
        sum_q += q.sum(dim=-1)
        sum_qz += torch.linalg.vecdot(q, z)
        top = new_top
    return (sum_q.log() - sum_qz / sum_q).clamp_min(0.0)


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
