"""The mixed loss, forward and backward: our op against the logits of all tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from wmss_cli.bench.memory import peak_memory
from wmss_cli.bench.results import BenchTable, Ratio, Spread, at_least, at_most
from wmss_cli.bench.timing import MatrixProduct, Rival, Values, alternate, compare
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.heads import Head
from wmss_cli.train.loss_backends import Backend, mixed_loss

COTRAINED, FROZEN = "wmss, co-trained", "wmss, frozen"
AUTHORS = "authors"
TORCH = "torch's op"
_LAMBDA = 0.5


@dataclass(frozen=True)
class LossSize:
    """Number of tokens, hidden size of each of the two models, size of the vocabulary."""

    tokens: int
    hidden_size: int
    vocab_size: int


TABLE = LossSize(2048, 1024, 151_936)
SMALL = LossSize(256, 64, 8192)


def measure(size: LossSize, rounds: int, on_run: Callable[[], None], _: Path) -> list[BenchTable]:
    """Measure time, peak memory and share of the limit for each way."""
    names: tuple[str, ...] = (COTRAINED, FROZEN, AUTHORS)
    if device().type == "cuda":
        # On a CPU it takes longer than all others together: six times as long as ours.
        names = (*names, TORCH)
    dtype = dtype_of("auto")
    product = MatrixProduct(dtype)
    timed = alternate(build(size, names), rounds, product, on_run)
    # bf16 logits, which only the authors' way has, are off by about 1 %.
    allowed = 1e-5 if dtype == torch.float32 else 2e-2
    agreements = [compare(timed, what, allowed, AUTHORS, True) for what in ("loss", "gradient")]
    small = size == SMALL
    memory = {
        name: peak_memory(build, (size,), name, on_run, forked=small).above_base for name in names
    }
    product_flops = 2 * size.tokens * size.hidden_size * size.vocab_size
    needed = {name: (4 if name == FROZEN else 6) * product_flops for name in names}
    has_goals = size == TABLE and device().type == "cpu"
    ratios = [
        Ratio(
            quantity="time",
            name=f"{COTRAINED} / {AUTHORS}",
            value=timed.ratio(COTRAINED, AUTHORS),
            goal=at_most(0.65) if has_goals else None,
        ),
        Ratio(
            quantity="memory",
            name=f"{COTRAINED} / {AUTHORS}",
            value=Spread.of([memory[COTRAINED] / memory[AUTHORS]]),
            goal=at_most(0.15) if has_goals else None,
        ),
        Ratio(
            quantity="limit",
            name=COTRAINED,
            value=timed.limit(COTRAINED, needed[COTRAINED]),
            goal=at_least(0.90) if has_goals else None,
        ),
        Ratio(
            quantity="time",
            name=f"{FROZEN} / {COTRAINED}",
            value=timed.ratio(FROZEN, COTRAINED),
            goal=at_most(0.80) if has_goals else None,
        ),
    ]
    return [
        BenchTable(
            bench="loss",
            title="mixed loss, forward and backward: "
            f"{size.tokens:,} tokens, hidden {size.hidden_size:,} + {size.hidden_size:,}, "
            f"vocabulary {size.vocab_size:,}",
            memory="above the base, without the gradients that are delivered",
            entries=timed.entries("tokens", size.tokens, memory, needed),
            ratios=tuple(ratios),
            rate=timed.rate(product.shape),
            agreements=tuple(agreements),
            sizes=asdict(size),
        )
    ]


def build(size: LossSize, names: Sequence[str]) -> dict[str, Rival]:
    """Make the rivals on the same hidden states, heads and targets."""
    inputs = _Inputs(size)
    ways: dict[str, Callable[[], Tensor]] = {
        COTRAINED: lambda: inputs.by("chunked"),
        FROZEN: lambda: inputs.by("chunked", frozen=True),
        AUTHORS: inputs.by_authors,
        TORCH: lambda: inputs.by("torch"),
    }
    return {
        name: Rival(
            lambda way=ways[name]: _backward(way()),  # type: ignore[misc]
            inputs.forget,
            inputs.values,
            inputs.delivered,
        )
        for name in names
    }


def _backward(loss: Tensor) -> Tensor:
    loss.backward()
    return loss.detach()


class _Inputs:
    """The outputs of the models, and the gradients that return to them."""

    def __init__(self, size: LossSize) -> None:
        generator = torch.Generator().manual_seed(0)

        def random(*shape: int, scale: float) -> Tensor:
            values = torch.randn(*shape, generator=generator) * scale
            return values.to(device(), dtype_of("auto")).requires_grad_()

        wide = 1.0 / size.hidden_size**0.5
        self.strong, self.weak = (random(size.tokens, size.hidden_size, scale=1.0) for _ in "sw")
        self.strong_head, self.weak_head = (
            random(size.vocab_size, size.hidden_size, scale=wide) for _ in "sw"
        )
        targets = torch.randint(size.vocab_size, (size.tokens,), generator=generator)
        self.targets = targets.to(device())

    def by(self, backend: Backend, frozen: bool = False) -> Tensor:
        weak, weak_head = self.weak, self.weak_head
        if frozen:
            weak, weak_head = weak.detach(), weak_head.detach()
        heads = Head(self.strong_head), Head(weak_head)
        loss = mixed_loss(backend, self.strong, heads[0], self.targets, weak, heads[1], _LAMBDA)
        return loss.total / len(self.targets)

    def by_authors(self) -> Tensor:
        # A model's output keeps its logits until the loss is computed.
        logits = [self.weak @ self.weak_head.T, self.strong @ self.strong_head.T]
        return stacked_cross_entropy(logits, self.targets, _LAMBDA) / len(self.targets)

    def values(self, loss: Any) -> Values:
        """Return the loss, and the norms of the gradients that all ways compute."""
        grads = [self.strong.grad, self.strong_head.grad]
        norms = [float(grad.float().norm()) for grad in grads if grad is not None]
        return {"loss": np.array([float(loss)]), "gradient": np.array(norms)}

    def _leaves(self) -> list[Tensor]:
        return [self.strong, self.weak, self.strong_head, self.weak_head]

    def forget(self) -> None:
        for leaf in self._leaves():
            leaf.grad = None

    def delivered(self) -> int:
        return sum(leaf.grad.nbytes for leaf in self._leaves() if leaf.grad is not None)


def stacked_cross_entropy(logits: Sequence[Tensor], labels: Tensor, mix_lambda: float) -> Tensor:
    """Return the loss as the paper's authors compute it: with all logits of both models, stacked.

    It is the sum of the losses in nats, with gradients by autograd.

    Parameters
    ----------
    logits : sequence of Tensor
        ``[tokens, vocab]`` for the weak and for the strong model.
    labels : Tensor
        ``[tokens]``.
    mix_lambda : float
        Lambda, the share of the strong model.
    """
    stacked = torch.stack(list(logits))
    mixed = (1.0 - mix_lambda) * stacked[0] + mix_lambda * stacked[1]
    return F.cross_entropy(mixed.float(), labels, reduction="sum")
