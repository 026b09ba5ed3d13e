"""Which samples make up each optimizer step, and which of them each rank gets.

The order depends only on the seed. A global batch is divided into ranks and micro-batches
afterwards, so neither changes what a step learns from. The position in the data is the number
of the step: nothing else has to be saved to resume.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from wmss_cli.data.packing import pack, pack_rows, rows_by_length
from wmss_cli.data.tokens import TokenTable
from wmss_cli.models.packed import PackedBatch


@dataclass(frozen=True)
class BatchPlan:
    """The sequence of global batches.

    Attributes
    ----------
    rows : ndarray of int
        Rows of the token table, each repeated as often as it is drawn, ``[samples]``.
    global_batch_size : int
        In samples.
    micro_batch_tokens : int
        Most tokens in a micro-batch.
    epochs : float
        Number of passes over `rows`.
    max_steps : int or None
        Upper limit for the number of steps.
    seed : int
        Seed of the order.
    """

    rows: NDArray[np.int64]
    global_batch_size: int
    micro_batch_tokens: int
    epochs: float
    max_steps: int | None
    seed: int

    @property
    def samples(self) -> int:
        """Number of samples drawn in total."""
        drawn = max(1, round(self.epochs * len(self.rows)))
        if self.max_steps is not None:
            drawn = min(drawn, self.max_steps * self.global_batch_size)
        return drawn

    @property
    def steps(self) -> int:
        """Number of optimizer steps; the last batch may be short, no sample is left out."""
        return -(-self.samples // self.global_batch_size)

    def last_step(self, epoch: int) -> int:
        """Return how many steps have been taken at the end of an epoch, counted from 1."""
        return -(-epoch * len(self.rows) // self.global_batch_size)

    def global_batch(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ``[at most global_batch_size]``."""
        first = step * self.global_batch_size
        draws = np.arange(first, min(first + self.global_batch_size, self.samples))
        epochs, places = np.divmod(draws, len(self.rows))
        orders = {epoch: self._order(int(epoch)) for epoch in np.unique(epochs)}
        picks = [orders[e][p] for e, p in zip(epochs, places, strict=True)]
        return self.rows[np.array(picks, dtype=np.int64)]

    def micro_batches(
        self,
        step: int,
        lengths: NDArray[np.int64],
        rank: int,
        world_size: int,
        padded: bool = False,
    ) -> list[NDArray[np.int64]]:
        """Return one rank's micro-batches of a step.

        All ranks get the same number, with nearly the same number of tokens. If there are fewer
        samples than micro-batches, some are empty.

        Parameters
        ----------
        step : int
            Number of the step, from 0.
        lengths : ndarray of int
            Number of tokens of each row of the table.
        rank, world_size : int
            Those of this process.
        padded : bool
            Whether each sample gets a row of its own.
        """
        batch = self.global_batch(step)
        cut = pack_rows if padded else pack
        bins = cut(lengths[batch], self.micro_batch_tokens, world_size)
        return [batch[places] for places in bins[rank::world_size]]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return _permutation(self.seed, epoch, len(self.rows))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def collate(table: TokenTable, rows: NDArray[np.int64]) -> PackedBatch:
    """Concatenate samples.

    Parameters
    ----------
    table : TokenTable
        The token table of the samples.
    rows : ndarray of int
        Rows of the table. If there are none, the result is one token with nothing to predict,
        since a model cannot run over nothing.
    """
    ids = [table.input_ids(int(row)) for row in rows]
    lengths = [len(sample) for sample in ids] or [1]
    starts = np.cumsum([0, *lengths[:-1]])
    packed = np.concatenate(ids) if ids else np.zeros(1, dtype=np.int32)
    # No position predicts the first token of a document, even if that has no prompt.
    first = [max(1, int(table.prompt_lengths[row])) for row in rows]
    wanted = [
        np.arange(start + prompt, start + length)
        for start, prompt, length in zip(starts, first, lengths, strict=False)
    ]
    places = np.concatenate(wanted) if wanted else np.empty(0, dtype=np.int64)
    positions = np.concatenate([np.arange(n) for n in lengths])
    examples = [_hash(table.example_ids[row]) for row in rows] or [0]
    return PackedBatch(
        input_ids=torch.from_numpy(packed.astype(np.int64)),
        position_ids=torch.from_numpy(positions),
        lengths=tuple(lengths),
        predicting=torch.from_numpy(places - 1),
        targets=torch.from_numpy(packed[places].astype(np.int64)),
        # Consecutive numbers from a random start in 64 bits; whoever uses them hashes them.
        keys=torch.from_numpy(np.repeat(np.array(examples, dtype=np.int64), lengths) + positions),
    )


def _hash(example_id: str) -> int:
    """Return 64 bits of a hash as a signed number."""
    digest = hashlib.blake2b(example_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def by_length(
    lengths: NDArray[np.int64],
    rows: NDArray[np.int64],
    max_batch_tokens: int,
    padded: bool = False,
) -> list[NDArray[np.int64]]:
    """Divide rows into batches of similar length, each of at most `max_batch_tokens`.

    Parameters
    ----------
    lengths : ndarray of int
        Number of tokens of each row of the table.
    rows : ndarray of int
        The rows to divide.
    max_batch_tokens : int
        A longer row gets a batch of its own.
    padded : bool
        Whether each sample gets a row of its own, padded to the longest.
    """
    if padded:
        return rows_by_length(lengths, rows, max_batch_tokens)
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    batches: list[NDArray[np.int64]] = []
    start = 0
    while start < len(ordered):
        total = np.cumsum(lengths[ordered[start:]])
        size = max(1, int(np.searchsorted(total, max_batch_tokens, side="right")))
        batches.append(ordered[start : start + size])
        start += size
    return batches
