"""Mixed logits without the weak model's knowledge: its logits shuffled, or noise of their size.

Ablations of the method: what remains of its effect if the weak logits keep their values or their
moments, but no longer contain information about the token. Both are functions of (seed, example,
position): a token gets the same weak logits in every epoch, as with a frozen model.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from wmss_cli.models.heads import Head
from wmss_cli.train.keyed_random import Purpose, below, further, stream
from wmss_cli.train.objectives.chunks import (
    Beside,
    Chunk,
    Rule,
    Share,
    TokenLoss,
    chunked_loss,
    row_blocks,
)

_POOL = 2**22
# Number of normal numbers in memory, 16 MiB.
_GPU_ROWS = 64
# Number of rows for which places or noise are made at a time: they are wider than the logits.


def shuffled_cross_entropy(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    weak: Tensor,
    weak_head: Head,
    mix_lambda: float,
    keys: Tensor,
    seed: int = 0,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return the mixed loss with the weak logits permuted over the vocabulary at each token.

    At place v is the weak model's logit of (a·π(v) + b) mod V. π is one random permutation of the
    vocabulary, made from the seed; a (coprime to V) and b are drawn for each token. So each token
    has one of φ(V)·V permutations, under which every entry is equally likely to be at any place.
    These are a small part of all V! permutations, but each costs one look-up and no sorting.

    Parameters
    ----------
    strong, strong_head, targets, weak, weak_head, mix_lambda, logits_bytes
        As in :func:`~wmss_cli.train.objectives.mixed.mixed_cross_entropy`. No gradient reaches the
        weak model.
    keys : Tensor
        ``[tokens]``, int64: keys of example and position.
    seed : int
        Seed of the permutations.
    """
    rule = _Shuffled(Beside(weak, weak_head), 1.0 - mix_lambda, keys, seed, weak_head.vocab_size)
    share = Share(strong, strong_head, mix_lambda)
    return chunked_loss([share], targets, rule, logits_bytes)


def noise_cross_entropy(
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    weak: Tensor,
    weak_head: Head,
    mix_lambda: float,
    keys: Tensor,
    seed: int = 0,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Return the mixed loss with normal noise of the weak logits' mean and variance at each token.

    The noise of a token is the sum, divided by √2, of two windows of a pool of 2**22 standard
    normal numbers made from the seed, each at a place that is drawn for the token. The probability
    that two tokens share both windows is 2**-44.

    Parameters
    ----------
    strong, strong_head, targets, weak, weak_head, mix_lambda, logits_bytes
        As in :func:`~wmss_cli.train.objectives.mixed.mixed_cross_entropy`. No gradient reaches the
        weak model.
    keys : Tensor
        ``[tokens]``, int64: keys of example and position.
    seed : int
        Seed of the noise.
    """
    rule = _Noise(Beside(weak, weak_head), 1.0 - mix_lambda, keys, seed, weak_head.vocab_size)
    share = Share(strong, strong_head, mix_lambda)
    return chunked_loss([share], targets, rule, logits_bytes)


def places(keys: Tensor, seed: int, vocab_size: int) -> Tensor:
    """Return where each entry of a token's shuffled logits is taken from, ``[tokens, vocab]``."""
    units, order = _affine(seed, vocab_size, keys.device)
    first, second = further(stream(keys, Purpose.SHUFFLED, seed), 2).unbind(-1)
    factors, offsets = units[below(first, len(units))], below(second, vocab_size)
    return (factors[:, None] * order).add_(offsets[:, None]).remainder_(vocab_size)


def noise(keys: Tensor, seed: int, vocab_size: int) -> Tensor:
    """Return standard normal numbers for each token, ``[tokens, vocab]``, fp32."""
    pool = _normal_pool(seed, keys.device)
    starts = below(further(stream(keys, Purpose.NOISE, seed), 2), len(pool) - vocab_size + 1)
    windows = pool.unfold(0, vocab_size, 1)
    return windows[starts[:, 0]].add_(windows[starts[:, 1]]).mul_(0.5**0.5)


class _Shuffled(Rule):
    def __init__(
        self, weak: Beside, share: float, keys: Tensor, seed: int, vocab_size: int
    ) -> None:
        super().__init__(held_logits=1)
        self._weak = weak
        self._share = share
        self._keys = keys
        self._seed = seed
        self._vocab_size = vocab_size

    def change(self, z: Tensor, chunk: Chunk) -> None:
        weak, keys = self._weak.logits(chunk.place), self._keys[chunk.place]
        for rows in row_blocks(z, _GPU_ROWS):
            taken = places(keys[rows], self._seed, self._vocab_size)
            z[rows].add_(weak[rows].gather(1, taken), alpha=self._share)


class _Noise(_Shuffled):
    def change(self, z: Tensor, chunk: Chunk) -> None:
        weak, keys = self._weak.logits(chunk.place), self._keys[chunk.place]
        for rows in row_blocks(z, _GPU_ROWS):
            variance, mean = torch.var_mean(weak[rows], dim=-1, correction=0, keepdim=True)
            made = noise(keys[rows], self._seed, self._vocab_size).to(z.dtype)
            z[rows].add_(made.mul_(variance.sqrt_()).add_(mean), alpha=self._share)


@lru_cache(maxsize=2)
def _affine(seed: int, vocab_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the numbers that are coprime to the vocabulary, and a random order of it."""
    numbers = np.arange(1, vocab_size + 1)
    units = numbers[np.gcd(numbers, vocab_size) == 1]
    order = np.random.default_rng([seed, Purpose.SHUFFLED]).permutation(vocab_size)
    return torch.from_numpy(units).to(device), torch.from_numpy(order).to(device)


@lru_cache(maxsize=2)
def _normal_pool(seed: int, device: torch.device) -> Tensor:
    generator = np.random.default_rng([seed, Purpose.NOISE])
    pool = generator.standard_normal(_POOL, dtype=np.float32)
    return torch.from_numpy(pool).to(device)
