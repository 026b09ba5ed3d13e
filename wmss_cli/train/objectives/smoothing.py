"""Label smoothing: a share of the target distribution is uniform over the vocabulary."""

from __future__ import annotations

import torch
from torch import Tensor

from wmss_cli.models.heads import Head
from wmss_cli.train.objectives.chunks import (
    Chunk,
    Rule,
    Share,
    TokenLoss,
    chunked_loss,
    log_softmax_blocks,
)


def smoothed_cross_entropy(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    smoothing: float,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return -Σ_v q_v log softmax(z)_v with q = (1 - smoothing) * e_y + smoothing / vocab.

    Szegedy et al. (2016), arXiv 1512.00567, Sec. 7; the same as torch's `label_smoothing`.

    Parameters
    ----------
    strong : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    strong_head : Head
        The head of the strong model, over `vocab` tokens.
    targets : Tensor
        ``[tokens]``.
    smoothing : float
        In [0, 1].
    logits_bytes : int, optional
        Memory for the logits of a chunk, in bytes.
    """
    share = Share(strong, strong_head)
    return chunked_loss([share], targets, _Smoothed(smoothing), logits_bytes)


class _Smoothed(Rule):
    def __init__(self, smoothing: float) -> None:
        super().__init__(gives_own=True)
        self._smoothing = smoothing

    def finish(self, z: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(z), dtype=z.dtype, device=z.device)
        own = torch.empty_like(losses)
        kept = 1.0 - self._smoothing
        for rows, log_p in log_softmax_blocks(z):
            wanted = chunk.target[rows]
            own[rows] = log_p.gather(1, wanted).squeeze(1).neg()
            losses[rows] = kept * own[rows] - self._smoothing * log_p.mean(dim=-1)
            gradient = torch.exp(log_p, out=z[rows]).sub_(self._smoothing / z.shape[1])
            gradient.scatter_add_(1, wanted, torch.full_like(gradient[:, :1], -kept))
        return losses, own
