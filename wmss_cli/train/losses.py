"""The loss of Weak-Driven Learning, cross entropy of mixed logits, without all its logits.

The whole ``[tokens, vocab]`` logits are never there. A chunk of tokens at a time goes through both
heads; what the gradient needs of it is computed at once, and the chunk's buffer is used again.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from wmss_cli.models.logits import write_logits

LOGITS_BYTES = 512 * 2**20
"""Memory for the logits of a chunk. Products of smaller chunks are slower."""

_CPU_ROWS = 8
# Rows of logits that stay in a CPU's cache while the softmax passes over them several times.


class MixedLoss(NamedTuple):
    """The loss of some tokens.

    Attributes
    ----------
    total : Tensor
        Scalar, fp32 at least: the sum over the tokens, in nats. The only one with a gradient.
    per_token : Tensor
        ``[tokens]``.
    own_per_token : Tensor
        ``[tokens]``: the strong model's own loss, by its logits alone.
    """

    total: Tensor
    per_token: Tensor
    own_per_token: Tensor


def mixed_cross_entropy(
    strong: Tensor,
    strong_head: Tensor,
    targets: Tensor,
    weak: Tensor | None = None,
    weak_head: Tensor | None = None,
    mix_lambda: float = 1.0,
    logits_bytes: int = LOGITS_BYTES,
) -> MixedLoss:
    """Return -log softmax(z_mix)[y], z_mix = lambda * z_strong + (1 - lambda) * z_weak.

    Algorithm 1 of the paper, phase B. The softmax is taken in fp32, and the gradients of the
    heads are summed over the chunks in fp32, whatever the data type of the weights. Gradients are
    computed for what requires one: a frozen weak head costs its product alone.

    Parameters
    ----------
    strong : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    strong_head : Tensor
        ``[vocab, hidden]``.
    targets : Tensor
        ``[tokens]``; there is no `ignore_index`, only completion tokens come here.
    weak, weak_head : Tensor, optional
        As of the strong model; the hidden sizes may differ. Without them the weak logits are all
        equal, and so they are zero: the loss does not change under z_weak + c·1.
    mix_lambda : float
        In (0, 1]; 1 is the strong model alone.
    logits_bytes : int
        Memory for the logits of a chunk, in bytes.
    """
    assert (weak is None) == (weak_head is None)
    outputs = cast(Any, _ChunkedCrossEntropy).apply(
        strong, strong_head, targets, weak, weak_head, mix_lambda, logits_bytes
    )
    return MixedLoss(*outputs)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Forward and backward in one pass over the chunks: the softmax is there when it is needed."""

    @staticmethod
    def forward(
        ctx: Any,
        strong: Tensor,
        strong_head: Tensor,
        targets: Tensor,
        weak: Tensor | None,
        weak_head: Tensor | None,
        mix_lambda: float,
        logits_bytes: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        sides = [_Side(strong, strong_head, mix_lambda, *ctx.needs_input_grad[:2])]
        if weak is not None and weak_head is not None:
            sides.append(_Side(weak, weak_head, 1.0 - mix_lambda, *ctx.needs_input_grad[3:5]))
        dtype = torch.promote_types(strong.dtype, torch.float32)
        per_token = torch.empty(len(strong), dtype=dtype, device=strong.device)
        own = torch.empty_like(per_token)
        # With one model and lambda 1, the mixed loss is the model's own.
        is_own = len(sides) == 1 and mix_lambda == 1.0
        size = _chunk_size(strong, strong_head, logits_bytes)
        buffer = strong.new_empty(size, len(strong_head), dtype=dtype)
        for first in range(0, len(strong), size):
            chunk = slice(first, min(first + size, len(strong)))
            target = targets[chunk, None]
            z = sides[0].mix_into(buffer[: chunk.stop - first], 0.0, 1.0, chunk)
            if not is_own:
                own[chunk] = _token_losses(z, target)
            if len(sides) == 2:
                sides[1].mix_into(z, mix_lambda, sides[1].share, chunk)
            elif not is_own:
                z.mul_(mix_lambda)
            per_token[chunk] = _softmax_minus_one_hot(z, target)
            for side in sides:
                side.accumulate(z, chunk)
        ctx.gradients = [(side.d_hidden, side.d_head) for side in sides]
        own = per_token.clone() if is_own else own
        ctx.mark_non_differentiable(per_token, own)
        return per_token.sum(), per_token, own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        scaled = []
        for d_hidden, d_head in ctx.gradients:
            scaled += [None if d is None else d.mul_(scale) for d in (d_hidden, d_head)]
        # In place, so that no second copy of a head's gradient is there: only once, then.
        del ctx.gradients
        scaled += [None, None] * (len(scaled) == 2)
        return scaled[0], scaled[1], None, scaled[2], scaled[3], None, None


class _Side:
    """One of the two models: its part of the logits, and what comes back to it."""

    def __init__(
        self, hidden: Tensor, head: Tensor, share: float, needs_hidden: bool, needs_head: bool
    ) -> None:
        self.hidden = hidden
        self.head = head
        self.share = share
        self.d_hidden = torch.empty_like(hidden) if needs_hidden else None
        self.d_head = (
            torch.zeros_like(head, dtype=torch.promote_types(head.dtype, torch.float32))
            if needs_head
            else None
        )

    def mix_into(self, z: Tensor, keep: float, share: float, chunk: slice) -> Tensor:
        """Set z ``[chunk, vocab]``, at least fp32, to keep * z + share * own logits; return it."""
        hidden = self.hidden[chunk]
        if hidden.dtype == z.dtype:
            return write_logits(z, hidden, self.head, keep, share)
        own = hidden @ self.head.T
        return z.mul_(keep).add_(own, alpha=share) if keep else z.copy_(own)

    def accumulate(self, gradient: Tensor, chunk: slice) -> None:
        """Add what the gradient of the chunk's mixed logits means for hidden states and head."""
        narrow = self.hidden.dtype.itemsize < 4
        gradient = gradient.to(self.hidden.dtype)
        hidden = self.hidden[chunk]
        if self.d_hidden is not None:
            out = self.d_hidden[chunk]
            torch.mm(gradient, self.head, out=out)
            out.mul_(self.share)
        if self.d_head is not None and narrow:
            self.d_head.add_(gradient.T @ hidden, alpha=self.share)
        elif self.d_head is not None:
            self.d_head.addmm_(gradient.T, hidden, alpha=self.share)


def _chunk_size(hidden: Tensor, head: Tensor, logits_bytes: int) -> int:
    """Return how many tokens make a chunk, all of about the same size."""
    # Narrow logits stand beside their fp32 copy, and so does the gradient.
    per_logit = 4 + 3 * hidden.dtype.itemsize if hidden.dtype.itemsize < 4 else hidden.itemsize
    most = max(1, logits_bytes // (len(head) * per_logit))
    chunks = max(1, -(-len(hidden) // most))
    return max(1, -(-len(hidden) // chunks))


def _blocks(z: Tensor) -> int:
    return _CPU_ROWS if z.device.type == "cpu" else max(1, len(z))


def _token_losses(z: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(z)[y] of each row, ``[rows]``; z is not changed."""
    size = _blocks(z)
    buffer = torch.empty_like(z[:size])
    parts = []
    for rows, wanted in zip(z.split(size), target.split(size), strict=True):
        log_p = torch.log_softmax(rows, dim=-1, out=buffer[: len(rows)])
        parts.append(log_p.gather(1, wanted).squeeze(1).neg())
    return torch.cat(parts)


def _softmax_minus_one_hot(z: Tensor, target: Tensor) -> Tensor:
    """Replace z by softmax(z) - e_y, its own gradient, and return the rows' losses."""
    size = _blocks(z)
    buffer = torch.empty_like(z[:size])
    parts = []
    for rows, wanted in zip(z.split(size), target.split(size), strict=True):
        log_p = torch.log_softmax(rows, dim=-1, out=buffer[: len(rows)])
        parts.append(log_p.gather(1, wanted).squeeze(1).neg())
        torch.exp(log_p, out=rows)
        rows.scatter_add_(1, wanted, torch.full_like(rows[:, :1], -1.0))
    return torch.cat(parts)
