"""Both baselines called UNDIAL: as the WMSS paper describes it, and as its authors published it."""

from __future__ import annotations

import torch
from torch import Tensor

from wmss_cli.models.heads import Head
from wmss_cli.train.keyed_random import Purpose, normal, stream
from wmss_cli.train.objectives.chunks import (
    Beside,
    Chunk,
    Rule,
    Share,
    TokenLoss,
    chunked_loss,
    log_softmax_blocks,
)


def noisy_target_cross_entropy(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    beta: float,
    keys: Tensor,
    seed: int = 0,
    step: int = 0,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return -log softmax(z - beta * eps * e_y)[y], eps ~ N(0, 1) for each token.

    UNDIAL as the WMSS paper describes its baseline: a one-hot scaled by Gaussian noise is
    subtracted from the target's logit. The noise has no gradient.

    Parameters
    ----------
    strong : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    strong_head : Head
        The head of the strong model, over `vocab` tokens.
    targets : Tensor
        ``[tokens]``.
    beta : float
        Standard deviation of the noise.
    keys : Tensor
        ``[tokens]``, int64: keys of example and position.
    seed, step : int
        Each optimizer step has new noise. A sample that is in a step twice has the same noise.
    logits_bytes : int, optional
        Memory for the logits of a chunk, in bytes.
    """
    noise = beta * normal(stream(keys, Purpose.UNDIAL, seed, step))
    return chunked_loss([Share(strong, strong_head)], targets, _Lowered(noise), logits_bytes)


def undial_distillation(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    reference: Tensor,
    reference_head: Head,
    beta: float,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return -Σ_v q_v log softmax(z)_v with q = softmax(z_reference - beta * e_y).

    Dong et al., UNDIAL (arXiv 2402.10052): self-distillation with adjusted logits. The reference
    is the model that the training starts from; no gradient reaches it.

    Parameters
    ----------
    strong : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    strong_head : Head
        The head of the strong model, over `vocab` tokens.
    targets : Tensor
        ``[tokens]``.
    reference, reference_head : Tensor and Head
        As for the strong model; the hidden sizes may differ.
    beta : float
        Amount subtracted from the target's logit.
    logits_bytes : int, optional
        Memory for the logits of a chunk, in bytes.
    """
    rule = _Distilled(Beside(reference, reference_head), beta)
    return chunked_loss([Share(strong, strong_head)], targets, rule, logits_bytes)


class _Lowered(Rule):
    """Cross entropy after a subtraction from the target's logit."""

    def __init__(self, amount: Tensor) -> None:
        super().__init__()
        self._amount = amount

    def change(self, z: Tensor, chunk: Chunk) -> None:
        z.scatter_add_(1, chunk.target, -self._amount[chunk.place, None].to(z.dtype))


class _Distilled(Rule):
    """Cross entropy to the distribution of a reference with a lowered target."""

    def __init__(self, reference: Beside, beta: float) -> None:
        super().__init__(gives_own=True, held_logits=1)
        self._reference = reference
        self._beta = beta

    def finish(self, z: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(z), dtype=z.dtype, device=z.device)
        own = torch.empty_like(losses)
        wanted = self._reference.logits(chunk.place)
        wanted.scatter_add_(1, chunk.target, torch.full_like(wanted[:, :1], -self._beta))
        for rows, log_p in log_softmax_blocks(z):
            q = torch.softmax(wanted[rows], dim=-1, out=wanted[rows])
            own[rows] = log_p.gather(1, chunk.target[rows]).squeeze(1).neg()
            losses[rows] = torch.linalg.vecdot(q, log_p).neg()
            torch.exp(log_p, out=z[rows]).sub_(q)
        return losses, own
