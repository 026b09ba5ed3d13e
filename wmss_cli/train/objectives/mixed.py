"""The loss of Weak-Driven Learning: cross entropy of mixed logits; chunks.py does the arithmetic.

With one model it is plain cross entropy.
"""

from __future__ import annotations

from torch import Tensor

from wmss_cli.models.heads import Head
from wmss_cli.train.objectives.chunks import Rule, Share, TokenLoss, chunked_loss


def mixed_cross_entropy(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    weak: Tensor | None = None,
    weak_head: Head | None = None,
    mix_lambda: float = 1.0,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return -log softmax(z_mix)[y], z_mix = lambda * z_strong + (1 - lambda) * z_weak.

    Algorithm 1 of the paper, phase B.

    Parameters
    ----------
    strong : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    strong_head : Head
        The head of the strong model, over `vocab` tokens.
    targets : Tensor
        ``[tokens]``; there is no `ignore_index`, since these are only completion tokens.
    weak, weak_head : Tensor and Head, optional
        As for the strong model; the hidden sizes may differ. Without them the weak logits are all
        equal. They are then zero, since the loss does not change under z_weak + c·1.
    mix_lambda : float
        In (0, 1]; 1 means the strong model alone.
    logits_bytes : int, optional
        Memory for the logits of a chunk, in bytes.
    """
    assert (weak is None) == (weak_head is None)
    shares = [Share(strong, strong_head, mix_lambda)]
    if weak is not None and weak_head is not None:
        shares.append(Share(weak, weak_head, 1.0 - mix_lambda))
    # With one model and lambda 1, the mixed loss is the model's own.
    rule = Rule(gives_own=len(shares) == 1 and mix_lambda == 1.0)
    return chunked_loss(shares, targets, rule, logits_bytes)
