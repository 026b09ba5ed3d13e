"""A loss over the tokens of a batch without all its logits: the loop that objectives share.

The whole ``[tokens, vocab]`` logits are never there. A chunk of tokens at a time goes through the
heads; what the gradient needs of it is computed at once, and the chunk's buffer is used again. An
objective says only what it does to the logits of a chunk (see :class:`Rule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from wmss_cli.models.logits import write_logits

LOGITS_BYTES = 512 * 2**20
"""Memory for the logits of a chunk. Products of smaller chunks are slower."""

_CPU_ROWS = 8
# Rows of logits that stay in a CPU's cache while the softmax passes over them several times.


class TokenLoss(NamedTuple):
    """The loss of some tokens.

    Attributes
    ----------
    total : Tensor
        Scalar, fp32 at least: the sum over the tokens, in nats. The only one with a gradient.
    per_token : Tensor
        ``[tokens]``.
    own_per_token : Tensor
        ``[tokens]``: the strong model's own loss, -log softmax(z_strong)[y].
    """

    total: Tensor
    per_token: Tensor
    own_per_token: Tensor


class Share(NamedTuple):
    """A model's part of the logits: ``share * hidden @ headᵀ``.

    Attributes
    ----------
    hidden : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    head : Tensor
        ``[vocab, hidden]``.
    share : float
        What the logits are multiplied with.
    """

    hidden: Tensor
    head: Tensor
    share: float = 1.0


class Chunk(NamedTuple):
    """Some tokens in a row.

    Attributes
    ----------
    place : slice
        Which of all tokens they are.
    target : Tensor
        ``[rows, 1]``.
    """

    place: slice
    target: Tensor


class Rule:
    """What an objective does to the logits z of a chunk; by itself cross entropy to the targets.

    Parameters
    ----------
    gives_own : bool
        Whether :meth:`finish` also returns the strong model's own loss. Else it is computed
        before z is changed, in another pass over the logits.
    held_logits : int
        Logits that the rule holds beside those of the chunk, for each of them.
    """

    def __init__(self, gives_own: bool = False, held_logits: int = 0) -> None:
        self.gives_own = gives_own
        self.held_logits = held_logits

    def change(self, z: Tensor, chunk: Chunk) -> None:
        """Add to z, in place, what does not depend on it.

        Parameters
        ----------
        z : Tensor
            ``[rows, vocab]``, the sum of the models' shares, fp32 at least.
        chunk : Chunk
            Whose logits they are.
        """

    def finish(self, z: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Replace z by the gradient of the rows' losses; return them and the model's own."""
        losses = torch.empty(len(z), dtype=z.dtype, device=z.device)
        for rows, log_p in log_softmax_blocks(z):
            wanted = chunk.target[rows]
            losses[rows] = log_p.gather(1, wanted).squeeze(1).neg()
            gradient = torch.exp(log_p, out=z[rows])
            gradient.scatter_add_(1, wanted, torch.full_like(gradient[:, :1], -1.0))
        return losses, losses


def chunked_loss(
    shares: Sequence[Share], targets: Tensor, rule: Rule, logits_bytes: int = LOGITS_BYTES
) -> TokenLoss:
    """Return the loss of all tokens, a chunk at a time.

    The softmax is taken in fp32, and the gradients of the heads are summed over the chunks in
    fp32, whatever the data type of the weights. Gradients are computed for what requires one: a
    frozen head costs its product alone.

    Parameters
    ----------
    shares : sequence of Share
        Of the strong model, and of at most one other; z is their sum.
    targets : Tensor
        ``[tokens]``; there is no `ignore_index`, only completion tokens come here.
    rule : Rule
        What the objective does to z.
    logits_bytes : int
        Memory for the logits of a chunk, in bytes.
    """
    assert 1 <= len(shares) <= 2
    tensors = [tensor for share in shares for tensor in (share.hidden, share.head)]
    outputs = cast(Any, _ChunkedLoss).apply(
        rule, targets, [share.share for share in shares], logits_bytes, *tensors
    )
    return TokenLoss(*outputs)


class _ChunkedLoss(torch.autograd.Function):
    """Forward and backward in one pass over the chunks: the softmax is there when it is needed."""

    @staticmethod
    def forward(
        ctx: Any,
        rule: Rule,
        targets: Tensor,
        shares: list[float],
        logits_bytes: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs = ctx.needs_input_grad[4:]
        sides = [
            Side(tensors[2 * i], tensors[2 * i + 1], share, needs[2 * i], needs[2 * i + 1])
            for i, share in enumerate(shares)
        ]
        strong = sides[0]
        per_token = torch.empty(len(strong.hidden), dtype=strong.dtype, device=targets.device)
        own = torch.empty_like(per_token)
        size = _chunk_size(strong, rule.held_logits, logits_bytes)
        buffer = strong.new_logits(size)
        for first in range(0, len(targets), size):
            place = slice(first, min(first + size, len(targets)))
            chunk = Chunk(place, targets[place, None])
            z = strong.mix_into(buffer[: place.stop - first], 0.0, 1.0, place)
            if not rule.gives_own:
                own[place] = token_losses(z, chunk.target)
            if len(sides) == 2:
                sides[1].mix_into(z, strong.share, sides[1].share, place)
            elif strong.share != 1.0:
                z.mul_(strong.share)
            rule.change(z, chunk)
            per_token[place], found = rule.finish(z, chunk)
            if rule.gives_own:
                own[place] = found
            for side in sides:
                side.accumulate(z, place)
        ctx.gradients = [(side.d_hidden, side.d_head) for side in sides]
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
        return None, None, None, None, *scaled


class Side:
    """One model in the loop: its part of the logits, and what comes back to it."""

    def __init__(
        self,
        hidden: Tensor,
        head: Tensor,
        share: float = 1.0,
        needs_hidden: bool = False,
        needs_head: bool = False,
    ) -> None:
        self.hidden = hidden
        self.head = head
        self.share = share
        self.dtype = torch.promote_types(hidden.dtype, torch.float32)
        self.d_hidden = torch.empty_like(hidden) if needs_hidden else None
        self.d_head = (
            torch.zeros_like(head, dtype=torch.promote_types(head.dtype, torch.float32))
            if needs_head
            else None
        )

    def new_logits(self, rows: int) -> Tensor:
        """Return memory for the logits of some tokens, ``[rows, vocab]``, fp32 at least."""
        return self.hidden.new_empty(rows, len(self.head), dtype=self.dtype)

    def mix_into(self, z: Tensor, keep: float, share: float, place: slice) -> Tensor:
        """Set z ``[rows, vocab]``, at least fp32, to keep * z + share * own logits; return it."""
        hidden = self.hidden[place]
        if hidden.dtype == z.dtype:
            return write_logits(z, hidden, self.head, keep, share)
        own = hidden @ self.head.T
        return z.mul_(keep).add_(own, alpha=share) if keep else z.copy_(own)

    def accumulate(self, gradient: Tensor, place: slice) -> None:
        """Add what the gradient of the logits z means for hidden states and head."""
        narrow = self.hidden.dtype.itemsize < 4
        gradient = gradient.to(self.hidden.dtype)
        hidden = self.hidden[place]
        if self.d_hidden is not None:
            out = self.d_hidden[place]
            torch.mm(gradient, self.head, out=out)
            out.mul_(self.share)
        if self.d_head is not None and narrow:
            self.d_head.add_(gradient.T @ hidden, alpha=self.share)
        elif self.d_head is not None:
            self.d_head.addmm_(gradient.T, hidden, alpha=self.share)


class Beside:
    """The logits of a model that gets no gradient, for a rule that needs them apart.

    Parameters
    ----------
    hidden : Tensor
        ``[tokens, hidden]``.
    head : Tensor
        ``[vocab, hidden]``.
    """

    def __init__(self, hidden: Tensor, head: Tensor) -> None:
        self._side = Side(hidden.detach(), head.detach())
        self._memory: Tensor | None = None

    def logits(self, place: slice) -> Tensor:
        """Return ``[rows, vocab]``, fp32 at least; the next call overwrites them."""
        rows = place.stop - place.start
        if self._memory is None or len(self._memory) < rows:
            self._memory = self._side.new_logits(rows)
        return self._side.mix_into(self._memory[:rows], 0.0, 1.0, place)


def _chunk_size(strong: Side, held_logits: int, logits_bytes: int) -> int:
    """Return how many tokens make a chunk, all of about the same size."""
    # Narrow logits stand beside their fp32 copy, and so does the gradient.
    itemsize = strong.hidden.dtype.itemsize
    per_logit = 4 + 3 * itemsize if itemsize < 4 else itemsize
    per_logit += held_logits * strong.dtype.itemsize
    most = max(1, logits_bytes // (len(strong.head) * per_logit))
    chunks = max(1, -(-len(strong.hidden) // most))
    return max(1, -(-len(strong.hidden) // chunks))


def row_blocks(z: Tensor, gpu_rows: int | None = None) -> Iterator[slice]:
    """Yield the rows of z block by block: a CPU's cache holds a block.

    On a GPU all rows are one block, or so many as `gpu_rows` says.
    """
    size = _CPU_ROWS if z.device.type == "cpu" else gpu_rows or max(1, len(z))
    for first in range(0, len(z), size):
        yield slice(first, min(first + size, len(z)))


def log_softmax_blocks(z: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows and their log softmax; the next block overwrites it."""
    memory: Tensor | None = None
    for rows in row_blocks(z):
        memory = torch.empty_like(z[rows]) if memory is None else memory
        yield rows, torch.log_softmax(z[rows], dim=-1, out=memory[: rows.stop - rows.start])


def token_losses(z: Tensor, target: Tensor) -> Tensor:
    """Return -log softmax(z)[y] of each row, ``[rows]``; z is not changed."""
    losses = torch.empty(len(z), dtype=z.dtype, device=z.device)
    for rows, log_p in log_softmax_blocks(z):
        losses[rows] = log_p.gather(1, target[rows]).squeeze(1).neg()
    return losses
