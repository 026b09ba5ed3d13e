"""Packs samples into bins with a token limit: as few and as equal bins as possible."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def pack(
    lengths: Sequence[int] | NDArray[np.int64], max_tokens: int, world_size: int
) -> list[NDArray[np.int64]]:
    """Put samples into bins, for ranks that all process the same number of them.

    Best fit gives the number of bins, which is rounded up to a multiple of the world size. Then
    each sample, the longest first, goes into the bin with the fewest tokens, so that no rank waits
    for another. If a bin would overflow this way, the bins of best fit are used.

    Parameters
    ----------
    lengths : sequence of int
        Number of tokens of each sample.
    max_tokens : int
        Token limit of a bin. A longer sample gets a bin of its own.
    world_size : int
        Number of ranks.

    Returns
    -------
    list of ndarray
        The indices of the samples in each bin; their number is a multiple of `world_size`. Bins
        ``i * world_size`` to ``(i + 1) * world_size - 1`` are processed at the same time, so they
        are ordered by their tokens, the fullest first.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    tight = _best_fit(sizes, order, max_tokens)
    count = max(1, -(-len(tight) // world_size)) * world_size
    level = _least_loaded(sizes, order, count)
    fits = all(len(places) == 1 or sizes[places].sum() <= max_tokens for places in level)
    bins = level if fits else tight + [[] for _ in range(count - len(tight))]
    bins.sort(key=lambda places: -int(sizes[places].sum()))
    return [np.array(sorted(places), dtype=np.int64) for places in bins]


def pack_rows(
    lengths: Sequence[int] | NDArray[np.int64], max_tokens: int, world_size: int
) -> list[NDArray[np.int64]]:
    """Put samples into bins for models that read each one as a row, padded to the longest.

    Samples of similar length share a bin. Parameters and result are as in :func:`pack`; the tokens
    of a bin include padding.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    bins = [places.tolist() for places in rows_by_length(sizes, np.arange(len(sizes)), max_tokens)]
    count = max(1, -(-len(bins) // world_size)) * world_size
    while len(bins) < count:
        # All ranks process the same number of bins: two half bins are better than an empty one.
        fullest: list[int] = max(bins, key=len, default=[])
        if len(fullest) > 1:
            bins.remove(fullest)
            half = len(fullest) // 2
            bins += [fullest[:half], fullest[half:]]
        else:
            bins.append([])
    bins.sort(key=lambda places: -len(places) * int(sizes[places].max(initial=0)))
    return [np.array(sorted(places), dtype=np.int64) for places in bins]


def rows_by_length(
    sizes: NDArray[np.int64], rows: NDArray[np.int64], max_tokens: int
) -> list[NDArray[np.int64]]:
    """Divide rows into batches of similar length, the longest first.

    Parameters
    ----------
    sizes : ndarray of int
        Number of tokens of each row of the table.
    rows : ndarray of int
        The rows to divide.
    max_tokens : int
        Token limit of a batch, padding included. A longer row gets a batch of its own.
    """
    ordered = rows[np.argsort(-sizes[rows], kind="stable")]
    batches = []
    start = 0
    while start < len(ordered):
        size = max(1, max_tokens // int(sizes[ordered[start]]))
        batches.append(ordered[start : start + size])
        start += size
    return batches


def padding(sizes: NDArray[np.int64], batches: Iterable[NDArray[np.int64]]) -> float:
    """Return the share of padding among the tokens of padded batches."""
    filled = [places for places in batches if len(places)]
    padded = sum(len(places) * int(sizes[places].max()) for places in filled)
    return 1.0 - sum(int(sizes[places].sum()) for places in filled) / max(1, padded)


def _best_fit(
    sizes: NDArray[np.int64], order: NDArray[np.int64], max_tokens: int
) -> list[list[int]]:
    """Put each sample where it leaves the least room."""
    bins: list[list[int]] = []
    room: list[int] = []
    for place in order:
        size = int(sizes[place])
        fitting = [i for i, left in enumerate(room) if left >= size]
        if fitting:
            best = min(fitting, key=lambda i: room[i])
            bins[best].append(int(place))
            room[best] -= size
        else:
            bins.append([int(place)])
            room.append(max_tokens - size)
    return bins


def _least_loaded(
    sizes: NDArray[np.int64], order: NDArray[np.int64], count: int
) -> list[list[int]]:
    """Put each sample where there are the fewest tokens."""
    bins: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, i) for i in range(count)]
    for place in order:
        load, i = heapq.heappop(heap)
        bins[i].append(int(place))
        heapq.heappush(heap, (load + int(sizes[place]), i))
    return bins
