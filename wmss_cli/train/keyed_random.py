"""Random numbers that are functions of a token's key, for many tokens at once.

A generator's numbers depend on the order of the calls, and so on how a batch is divided. Here each
number is a hash of the token's key (see :class:`~wmss_cli.models.packed.PackedBatch`) and of its
purpose: the same on any rank, in any packing and after a resume. The integers are exact, so a CPU
and a GPU get the same ones.
"""

from __future__ import annotations

import math
from enum import IntEnum

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Purpose(IntEnum):
    """What the numbers are for: streams of different purposes are independent."""

    UNDIAL = 1
    SHUFFLED = 2
    NOISE = 3
    NEFTUNE = 4


def stream(keys: Tensor, purpose: Purpose, *numbers: int) -> Tensor:
    """Return 64 random bits for each key, ``[tokens]``, int64.

    Parameters
    ----------
    keys : Tensor
        ``[tokens]``, int64.
    purpose : Purpose
        What the bits are for.
    numbers : int
        What else they depend on: the seed, the optimizer step.
    """
    bits = _mix(keys)
    for number in (purpose, *numbers):
        bits = _mix(bits + _signed(number * _GOLDEN))
    return bits


def further(bits: Tensor, count: int) -> Tensor:
    """Return `count` numbers of 64 bits for each number of a stream, ``[*bits.shape, count]``."""
    counters = torch.arange(1, count + 1, device=bits.device) * _signed(_GOLDEN)
    return _mix(bits.unsqueeze(-1) + counters)


def below(bits: Tensor, limit: int) -> Tensor:
    """Return whole numbers from 0 to limit - 1, as int64.

    All are equally likely, up to a relative error of ``limit / 2**63``.
    """
    return _shift(bits, 1) % limit


def symmetric(bits: Tensor) -> Tensor:
    """Return numbers that are uniform in (-1, 1), fp32: the midpoints of 2**23 equal intervals."""
    return (_shift(bits, 64 - 23).float() + 0.5) * 2.0**-22 - 1.0


def normal(bits: Tensor) -> Tensor:
    """Return standard normal numbers, float64 (Box and Muller)."""
    first, second = ((_shift(b, 11).double() + 0.5) * 2.0**-53 for b in further(bits, 2).unbind(-1))
    return torch.sqrt(-2.0 * torch.log(first)) * torch.cos(2.0 * math.pi * second)


def _mix(bits: Tensor) -> Tensor:
    """Return SplitMix64's finalizer of 64 bits (Steele, Lea and Flood, 2014), a bijection."""
    bits = (bits ^ _shift(bits, 30)) * _signed(_MULTIPLIERS[0])
    bits = (bits ^ _shift(bits, 27)) * _signed(_MULTIPLIERS[1])
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, places: int) -> Tensor:
    """Shift to the right and fill with zeros: torch's shift fills with the sign bit."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    """Return the signed number that has the lowest 64 bits of a value."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value
