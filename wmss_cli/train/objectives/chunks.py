"""A loss over the tokens of a batch without all their logits: the loop that objectives share.

The full ``[tokens, vocab]`` logits never exist. One chunk of tokens at a time goes through the
heads; what the gradient needs from it is computed at once, and the buffer is used again. An
objective only defines what it does to the logits of a chunk (see :class:`Rule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from wmss_cli.models.heads import Head, write_logits

LOGITS_BYTES = 512 * 2**20
"""Memory for the logits of a chunk on a CPU. Products of smaller chunks are slower."""
GPU_LOGITS_BYTES = 2 * 2**30
"""The same on a GPU, where each chunk also reads and writes the gradients of the heads once."""

_CPU_ROWS = 8
# This many rows of logits stay in a CPU's cache while the softmax passes over them several times.


class TokenLoss(NamedTuple):
    """The loss of some tokens.

    Attributes
    ----------
    total : Tensor
        Scalar, fp32 at least: the sum over the tokens, in nats. Only this one has a gradient.
    per_token : Tensor
        ``[tokens]``.
    own_per_token : Tensor
        ``[tokens]``: the strong model's own loss, -log softmax(z_strong)[y].
    """

    total: Tensor
    per_token: Tensor
    own_per_token: Tensor


class Share(NamedTuple):
    """A model's contribution to the logits: ``share * head.logits(hidden)``.

    Attributes
    ----------
    hidden : Tensor
        ``[tokens, hidden]``, the last hidden states that predict the targets.
    head : Head
        The head of the model, including its cap and scale.
    share : float
        Factor of the logits.
    """

    hidden: Tensor
    head: Head
    share: float = 1.0


class Chunk(NamedTuple):
    """Consecutive tokens.

    Attributes
    ----------
    place : slice
        Their indices among all tokens.
    target : Tensor
        ``[rows, 1]``.
    """

    place: slice
    target: Tensor


class Rule:
    """What an objective does to the logits z of a chunk; this base class is plain cross entropy.

    Parameters
    ----------
    gives_own : bool
        Whether :meth:`finish` also returns the strong model's own loss. Otherwise that is computed
        before z is changed, in another pass over the logits.
    held_logits : int
        Number of logits that the rule stores for each logit of the chunk.
    """

    def __init__(self, gives_own: bool = False, held_logits: int = 0) -> None:
        self.gives_own = gives_own
        self.held_logits = held_logits

    def change(self, z: Tensor, chunk: Chunk) -> None:
        """Add to z, in place, a term that does not depend on it.

        Parameters
        ----------
        z : Tensor
            ``[rows, vocab]``, the sum of the models' shares, fp32 at least.
        chunk : Chunk
            The tokens of these logits.
        """

    def finish(self, z: Tensor, chunk: Chunk) -> tuple[Tensor, Tensor]:
        """Replace z by the gradient of the rows' losses; return these and the model's own."""
        losses = torch.empty(len(z), dtype=z.dtype, device=z.device)
        for rows, log_p in log_softmax_blocks(z):
            wanted = chunk.target[rows]
            losses[rows] = log_p.gather(1, wanted).squeeze(1).neg()
            gradient = torch.exp(log_p, out=z[rows])
            gradient.scatter_add_(1, wanted, torch.full_like(gradient[:, :1], -1.0))
        return losses, losses


def chunked_loss(
    shares: Sequence[Share], targets: Tensor, rule: Rule, logits_bytes: int | None = None
) -> TokenLoss:
    """Return the loss of all tokens, a chunk at a time.

    The softmax is computed in fp32, and the gradients of the heads are summed over the chunks in
    fp32, whatever the data type of the weights. Gradients are computed only where required: a
    frozen head costs only its product.

    Parameters
    ----------
    shares : sequence of Share
        For the strong model, and at most one other; z is their sum.
    targets : Tensor
        ``[tokens]``; there is no `ignore_index`, since these are only completion tokens.
    rule : Rule
        What the objective does to z.
    logits_bytes : int, optional
        Memory for the logits of a chunk, in bytes; without it, a default for the device.
    """
    assert 1 <= len(shares) <= 2
    if logits_bytes is None:
        logits_bytes = GPU_LOGITS_BYTES if targets.is_cuda else LOGITS_BYTES
    tensors = [t for share in shares for t in (share.hidden, share.head.weight, share.head.bias)]
    outputs = cast(Any, _ChunkedLoss).apply(rule, targets, shares, logits_bytes, *tensors)
    return TokenLoss(*outputs)


class _ChunkedLoss(torch.autograd.Function):
    """Forward and backward in one pass over the chunks, while the softmax exists."""

    @staticmethod
    def forward(
        ctx: Any,
        rule: Rule,
        targets: Tensor,
        shares: Sequence[Share],
        logits_bytes: int,
        *_tensors: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Each share has three tensors: hidden states, weight, bias.
        needs = [ctx.needs_input_grad[4 + 3 * i : 7 + 3 * i] for i in range(len(shares))]
        sides = [Side(share, *needed) for share, needed in zip(shares, needs, strict=True)]
        strong = sides[0]
        per_token = torch.empty(len(strong.hidden), dtype=strong.dtype, device=targets.device)
        own = torch.empty_like(per_token)
        held = rule.held_logits + sum(side.head.cap is not None for side in sides)
        size = _chunk_size(strong, held, logits_bytes)
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
        ctx.gradients = [side.gradients for side in sides]
        ctx.mark_non_differentiable(per_token, own)
        return per_token.sum(), per_token, own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        scaled = []
        for gradients in ctx.gradients:
            scaled += [None if d is None else d.mul_(scale) for d in gradients]
        # In place, to avoid a second copy of a head's gradient; so backward works only once.
        del ctx.gradients
        return None, None, None, None, *scaled


class Side:
    """One model in the loop: its share of the logits, and its gradients.

    Parameters
    ----------
    share : Share
        Its hidden states, head, and factor.
    needs_hidden, needs_weight, needs_bias : bool
        Which of them need a gradient.
    """

    def __init__(
        self,
        share: Share,
        needs_hidden: bool = False,
        needs_weight: bool = False,
        needs_bias: bool = False,
    ) -> None:
        self.hidden, self.head, self.share = share
        self.dtype = torch.promote_types(self.hidden.dtype, torch.float32)
        self._d_hidden = torch.empty_like(self.hidden) if needs_hidden else None
        self._d_weight = self._zeros(self.head.weight) if needs_weight else None
        self._d_bias = None
        if needs_bias and self.head.bias is not None:
            self._d_bias = self._zeros(self.head.bias)
        # For a capped head: tanh of the logits before the cap, for the current chunk.
        self._tanh: Tensor | None = None

    @property
    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of hidden states, weight and bias, if they are needed."""
        return self._d_hidden, self._d_weight, self._d_bias

    def _zeros(self, weight: Tensor) -> Tensor:
        return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))

    def new_logits(self, rows: int) -> Tensor:
        """Return memory for the logits of some tokens, ``[rows, vocab]``, fp32 at least."""
        return self.hidden.new_empty(rows, self.head.vocab_size, dtype=self.dtype)

    def mix_into(self, z: Tensor, keep: float, share: float, place: slice) -> Tensor:
        """Set z ``[rows, vocab]``, at least fp32, to keep * z + share * own logits; return it."""
        cap = self.head.cap
        if cap is None:
            self._product_into(z, keep, share, place)
            return z
        if self._tanh is None or len(self._tanh) < len(z):
            self._tanh = self.new_logits(len(z))
        own = self._tanh[: len(z)]
        self._product_into(own, 0.0, 1.0 / cap, place)
        own.tanh_()
        if keep:
            return z.mul_(keep).add_(own, alpha=share * cap)
        return torch.mul(own, share * cap, out=z)

    def _product_into(self, z: Tensor, keep: float, share: float, place: slice) -> None:
        """Set z to keep * z + share * (scaled product + bias)."""
        hidden, head = self.hidden[place], self.head
        factor = share * head.scale
        if hidden.dtype == z.dtype:
            write_logits(z, hidden, head.weight, keep, factor)
        else:
            own = hidden @ head.weight.T
            # Widened before it is scaled.
            z.mul_(keep).add_(own, alpha=factor) if keep else z.copy_(own).mul_(factor)
        if head.bias is not None:
            z.add_(head.bias, alpha=share)

    def accumulate(self, gradient: Tensor, place: slice) -> None:
        """Add the gradients of hidden states, weight and bias, given that of the logits z."""
        if self._tanh is not None:
            # d cap * tanh(x / cap) = 1 - tanh².
            own = self._tanh[: len(gradient)]
            gradient = own.square_().neg_().add_(1.0).mul_(gradient)
        if self._d_bias is not None:
            self._d_bias.add_(gradient.sum(dim=0), alpha=self.share)
        gradient = gradient.to(self.hidden.dtype)
        hidden = self.hidden[place]
        factor = self.share * self.head.scale
        if self._d_hidden is not None:
            out = self._d_hidden[place]
            torch.mm(gradient, self.head.weight, out=out)
            out.mul_(factor)
        if self._d_weight is not None:
            _add_product(self._d_weight, gradient.T, hidden, factor)


def _add_product(total: Tensor, left: Tensor, right: Tensor, factor: float) -> None:
    """Add ``factor * left @ right`` to a sum that is fp32 at least."""
    if total.dtype == left.dtype:
        total.addmm_(left, right, alpha=factor)
    elif total.is_cuda and _writes_fp32(total.device, left.dtype):
        # No rounding in between, and no second tensor as large as the head.
        add: Any = torch.addmm
        add(total, left, right, out_dtype=total.dtype, alpha=factor, out=total)
    else:
        total.add_(left @ right, alpha=factor)


@cache
def _writes_fp32(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether this torch adds 16-bit products to fp32; some versions do not."""
    one = torch.ones(16, 16, device=device, dtype=dtype)
    total = one.float()
    add: Any = torch.addmm
    try:
        add(total, one, one, out_dtype=torch.float32, out=total)
    except (RuntimeError, TypeError) as error:
        said = f"head gradients take a second tensor: torch {torch.__version__} says {error}"
        print(said.splitlines()[0], flush=True)  # noqa: T201 - goes to the log of the stage
        return False
    return bool((total == 17).all())


class Beside:
    """The logits of a model that gets no gradient, for a rule that needs them separately.

    Parameters
    ----------
    hidden : Tensor
        ``[tokens, hidden]``.
    head : Head
        The head of the model.
    """

    def __init__(self, hidden: Tensor, head: Head) -> None:
        self._side = Side(Share(hidden.detach(), head.detach()))
        self._memory: Tensor | None = None

    def logits(self, place: slice) -> Tensor:
        """Return ``[rows, vocab]``, fp32 at least; the next call overwrites them."""
        rows = place.stop - place.start
        if self._memory is None or len(self._memory) < rows:
            self._memory = self._side.new_logits(rows)
        return self._side.mix_into(self._memory[:rows], 0.0, 1.0, place)


def _chunk_size(strong: Side, held_logits: int, logits_bytes: int) -> int:
    """Return the number of tokens in a chunk, such that all chunks have about the same size."""
    # Narrow logits exist next to their fp32 copy, and so does the gradient.
    itemsize = strong.hidden.dtype.itemsize
    per_logit = 4 + 3 * itemsize if itemsize < 4 else itemsize
    per_logit += held_logits * strong.dtype.itemsize
    most = max(1, logits_bytes // (strong.head.vocab_size * per_logit))
    chunks = max(1, -(-len(strong.hidden) // most))
    return max(1, -(-len(strong.hidden) // chunks))


def row_blocks(z: Tensor, gpu_rows: int | None = None) -> Iterator[slice]:
    """Yield the rows of z in blocks that fit into a CPU's cache.

    On a GPU all rows are one block, or `gpu_rows` of them.
    """
    size = _CPU_ROWS if z.device.type == "cpu" else gpu_rows or max(1, len(z))
    for first in range(0, len(z), size):
        yield slice(first, min(first + size, len(z)))


def log_softmax_blocks(z: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows and their log softmax, which the next block overwrites."""
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
