"""Bins of tokens: nothing lost, nothing too full, and no rank that waits for another."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.data.packing import pack, pack_rows, padding, rows_by_length

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(1, 100), st.integers(1, 5))
def test_every_sample_is_in_one_bin_and_no_bin_is_too_full(
    lengths: list[int], max_tokens: int, world_size: int
) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    bins = pack(sizes, max_tokens, world_size)
    assert bins
    assert len(bins) % world_size == 0
    assert sorted(np.concatenate(bins).tolist()) == list(range(len(sizes)))
    assert all(len(places) <= 1 or sizes[places].sum() <= max_tokens for places in bins)


@given(LENGTHS, st.integers(60, 200), st.integers(1, 5))
def test_there_are_few_bins(lengths: list[int], max_tokens: int, world_size: int) -> None:
    bins = pack(lengths, max_tokens, world_size)
    # Any two bins of best fit hold more than one bin's tokens together.
    enough = max(1, int(2 * sum(lengths) / max_tokens) + 1)
    assert len(bins) <= -(-enough // world_size) * world_size


@given(LENGTHS, st.integers(1, 100), st.integers(1, 5))
def test_the_fullest_come_first(lengths: list[int], max_tokens: int, world_size: int) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    tokens = [int(sizes[places].sum()) for places in pack(sizes, max_tokens, world_size)]
    assert tokens == sorted(tokens, reverse=True)


def test_best_fit_finds_what_first_fit_would_not() -> None:
    assert len(pack([6, 5, 4, 5], max_tokens=10, world_size=1)) == 2


def test_ranks_are_loaded_alike() -> None:
    sizes = np.random.default_rng(0).integers(100, 3000, size=64)
    bins = pack(sizes, max_tokens=8192, world_size=8)
    tokens = np.array([sizes[places].sum() for places in bins]).reshape(-1, 8)
    assert (tokens.max(axis=1) / tokens.min(axis=1) < 1.05).all()


def test_a_sample_that_is_too_long_is_alone() -> None:
    bins = pack([50, 3, 4], max_tokens=10, world_size=1)
    assert [places.tolist() for places in bins] == [[0], [1, 2]]


def test_where_level_bins_would_overflow_best_fit_stays() -> None:
    sizes = np.array([6, 6, 4, 4, 4, 3, 3])
    bins = pack(sizes, max_tokens=10, world_size=1)
    assert [int(sizes[places].sum()) for places in bins] == [10, 10, 10]


def test_no_sample_still_gives_each_rank_a_bin() -> None:
    assert [places.tolist() for places in pack([], 10, 3)] == [[], [], []]


@given(LENGTHS, st.integers(1, 100), st.integers(1, 5))
def test_padded_rows_fit_and_all_ranks_run_equally_many_bins(
    lengths: list[int], max_tokens: int, world_size: int
) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    bins = pack_rows(sizes, max_tokens, world_size)
    assert bins
    assert len(bins) % world_size == 0
    assert sorted(np.concatenate(bins).tolist()) == list(range(len(sizes)))
    padded = [len(places) * int(sizes[places].max(initial=0)) for places in bins]
    assert all(len(p) <= 1 or n <= max_tokens for p, n in zip(bins, padded, strict=True))
    assert padded == sorted(padded, reverse=True)


def test_samples_of_like_length_share_a_bin() -> None:
    sizes = np.array([10, 3, 9, 3, 10, 2])
    assert [p.tolist() for p in pack_rows(sizes, 30, 1)] == [[0, 2, 4], [1, 3, 5]]
    # Rather two of half the size than an empty one.
    assert [p.tolist() for p in pack_rows(sizes, 30, 3)] == [[2, 4], [0], [1, 3, 5]]
    assert [p.tolist() for p in pack_rows([], 30, 2)] == [[], []]


def test_padding_is_the_share_of_what_passes() -> None:
    sizes = np.array([10, 5, 4])
    assert padding(sizes, rows_by_length(sizes, np.arange(3), 20)) == 1 - 19 / 24
    assert padding(sizes, [np.array([0]), np.array([], dtype=np.int64)]) == 0.0
