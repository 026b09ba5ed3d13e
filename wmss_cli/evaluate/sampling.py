"""The next token: the most probable one, or a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How tokens are sampled.

    Attributes
    ----------
    temperature : float
        Above 0; logits are divided by it.
    top_p : float
        Only the most probable tokens, which together have this probability, are sampled.
    seeds : tuple of int
        One for each prompt. Samples depend on the prompt's seed and not on its neighbours.

    References
    ----------
    A. Holtzman et al., "The curious case of neural text degeneration" (2020), for `top_p`.
    """

    temperature: float
    top_p: float
    seeds: tuple[int, ...]


def seed_of(seed: int, task: str, problem: str, sample: int) -> int:
    """Return the seed of one answer: the same for every shard, order and batch size."""
    name = f"{seed}:{task}:{problem}:{sample}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big")


def draw(
    logits: Tensor, temperature: float, top_p: float, generators: Sequence[torch.Generator]
) -> list[int]:
    """Sample a token for each row.

    Parameters
    ----------
    logits : Tensor
        ``[rows, vocab]``.
    temperature, top_p : float
        As in :class:`Sampling`.
    generators : sequence of torch.Generator
        One for each row, on the CPU, so that all devices use the same random numbers.
    """
    p = torch.softmax(logits.float() / temperature, dim=-1)
    p, tokens = p.sort(dim=-1, descending=True, stable=True)
    total = p.cumsum(dim=-1)
    if top_p < 1.0:
        # A token stays if those before it do not reach top_p; so the first one always does.
        p = p.masked_fill(total - p >= top_p, 0.0)
        total = p.cumsum(dim=-1)
    uniform = torch.stack([torch.rand((), generator=generator) for generator in generators])
    target = uniform.to(total.device).unsqueeze(1) * total[:, -1:]
    places = torch.searchsorted(total, target, right=True)
    # Only rounding can lead past the last token with a probability above zero.
    last = (p > 0).sum(dim=-1, keepdim=True) - 1
    drawn: list[int] = tokens.gather(1, torch.minimum(places, last)).squeeze(1).tolist()
    return drawn
