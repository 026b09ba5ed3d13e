"""Statistics of a model's logits where they predict the completion (Tables 2 and 6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STATISTICS = {
    "z_target": "logit of the right token",
    "z_background": "mean logit of all other tokens",
    "gap": "z_target - z_background",
    "std": "standard deviation over the vocabulary",
    "mean": "mean over the vocabulary",
    "centred_norm": "norm of z - mean(z), which is sqrt(vocab) * std",
    "max": "largest logit",
    "min": "smallest logit",
    "norm": "norm of z",
    "entropy": "of the softmax, in nats",
    "p_max": "largest probability",
    "p_target": "probability of the right token",
}
"""Names and meanings, in the order of the paper's tables."""


def logit_statistics(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Return the statistics of each token's logits.

    Parameters
    ----------
    logits : Tensor
        ``[tokens, vocab]``.
    targets : Tensor
        ``[tokens]``.

    Returns
    -------
    dict of str to Tensor
        The names of :data:`STATISTICS`, each ``[tokens]``.
    """
    z = logits.double()
    vocab = z.shape[-1]
    log_p = z.log_softmax(dim=-1)
    p = log_p.exp()
    target = z.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    background = (z.sum(dim=-1) - target) / (vocab - 1)
    std = z.std(dim=-1, correction=0)
    return {
        "z_target": target,
        "z_background": background,
        "gap": target - background,
        "std": std,
        "mean": z.mean(dim=-1),
        "centred_norm": math.sqrt(vocab) * std,
        "max": z.amax(dim=-1),
        "min": z.amin(dim=-1),
        "norm": z.norm(dim=-1),
        "entropy": torch.special.entr(p).sum(dim=-1),
        "p_max": p.amax(dim=-1),
        "p_target": p.gather(-1, targets.unsqueeze(-1)).squeeze(-1),
    }
