"""The loss of Weak-Driven Learning: cross entropy of mixed logits."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def mix_logits(strong: Tensor, weak: Tensor, mix_lambda: float) -> Tensor:
    """Return z_mix = lambda * z_strong + (1 - lambda) * z_weak (Algorithm 1, phase B).

    Parameters
    ----------
    strong, weak : Tensor
        ``[tokens, vocab]``.
    mix_lambda : float
        1 is the strong model alone.
    """
    return mix_lambda * strong + (1.0 - mix_lambda) * weak


def cross_entropy_sum(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of -log softmax(z)[y] over all tokens, in nats.

    The softmax is taken in fp32 where the logits are narrower.

    Parameters
    ----------
    logits : Tensor
        ``[tokens, vocab]``.
    targets : Tensor
        ``[tokens]``; there is no `ignore_index`, only completion tokens come here.
    """
    if logits.dtype.itemsize < 4:
        logits = logits.float()
    return F.cross_entropy(logits, targets, reduction="sum")
