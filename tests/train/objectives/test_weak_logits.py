"""Shuffled and noise logits: what they keep of the weak model's, and what they do not."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wmss_cli.train.objectives.weak_logits import noise, places


def keys(count: int) -> torch.Tensor:
    """Return keys as a packed document has them: one after the other."""
    return torch.arange(count) + 1234567


@given(st.integers(1, 200), st.integers(0, 99))
def test_each_token_gets_a_permutation(vocab: int, seed: int) -> None:
    found = places(keys(20), seed, vocab)
    assert (found.sort(dim=-1).values == torch.arange(vocab)).all()


def test_every_entry_comes_to_every_place_equally_often() -> None:
    vocab, tokens = 12, 24_000
    found = places(keys(tokens), 0, vocab)
    for place in (0, 5):
        counts = torch.bincount(found[:, place], minlength=vocab)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    neighbours = found[:-1, 0] * vocab + found[1:, 0]
    counts = torch.bincount(neighbours, minlength=vocab * vocab)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


def test_noise_is_standard_normal_and_tokens_do_not_correlate() -> None:
    tokens, vocab = 64, 20_000
    found = noise(keys(tokens), 0, vocab).double()
    assert found.mean(dim=1).abs().max() < 5 / vocab**0.5
    assert (found.var(dim=1) - 1).abs().max() < 5 * (2 / vocab) ** 0.5
    assert stats.kstest(found[:, 3].numpy(), "norm").pvalue > 1e-4
    correlation = torch.corrcoef(found) - torch.eye(tokens)
    assert correlation.abs().max() < 6 / vocab**0.5
    entries = torch.corrcoef(found[:, :50].T) - torch.eye(50)
    assert entries.abs().max() < 6 / tokens**0.5


def test_seeds_give_other_weak_logits() -> None:
    assert not torch.equal(places(keys(5), 0, 50), places(keys(5), 1, 50))
    assert not torch.equal(noise(keys(5), 0, 50), noise(keys(5), 1, 50))
