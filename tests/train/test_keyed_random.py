"""Random numbers by key: uniform, normal, and independent of everything but their key."""

from __future__ import annotations

import torch
from scipy import stats

from wmss_cli.train.keyed_random import Purpose, below, further, normal, stream, symmetric

KEYS = torch.arange(40_000) - 20_000


def test_the_hash_is_splitmix64() -> None:
    """The published first outputs of SplitMix64 with the seed 1234567."""
    state = torch.tensor([1234567])
    # ``further`` numbers its outputs from 1, as the generator does.
    found = [value % 2**64 for value in further(state, 3)[0].tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_neighbours_are_uniform_and_independent() -> None:
    numbers = symmetric(stream(KEYS, Purpose.NEFTUNE, 0)).double()
    assert stats.kstest(numbers.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-4
    assert abs(float(torch.corrcoef(torch.stack([numbers[:-1], numbers[1:]]))[0, 1])) < 0.025
    assert numbers.abs().max() < 1.0


def test_normal_numbers_are_normal() -> None:
    numbers = normal(stream(KEYS, Purpose.UNDIAL, 0, 1))
    assert stats.kstest(numbers.numpy(), "norm").pvalue > 1e-4


def test_whole_numbers_are_equally_likely() -> None:
    counts = torch.bincount(below(stream(KEYS, Purpose.NOISE, 0), 7))
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_purpose_seed_and_step_each_make_another_stream() -> None:
    made = [
        stream(KEYS, Purpose.UNDIAL, 0, 0),
        stream(KEYS, Purpose.NEFTUNE, 0, 0),
        stream(KEYS, Purpose.UNDIAL, 1, 0),
        stream(KEYS, Purpose.UNDIAL, 0, 1),
    ]
    assert torch.unique(torch.cat(made)).numel() == 4 * len(KEYS)
