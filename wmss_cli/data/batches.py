"""Which samples make up each optimizer step, and how a rank sees its share of them.

The order depends on the seed alone. A global batch is cut into ranks and micro-batches
afterwards, so neither changes what a step learns from, and the position in the data is the
step's number: nothing else has to be saved for a resume.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wmss_cli.core.config import accumulation_steps
from wmss_cli.core.schema import IGNORE_INDEX
from wmss_cli.data.tokens import TokenTable

FILLER = -1
"""Stands for no sample where the last batch is short: a row without labels."""


@dataclass(frozen=True)
class BatchPlan:
    """The sequence of global batches.

    Attributes
    ----------
    rows : ndarray of int
        Rows of the token table, each as often as it is drawn, ``[samples]``.
    global_batch_size, micro_batch_size : int
        In samples.
    epochs : float
        Passes over `rows`.
    max_steps : int or None
        Upper limit of steps.
    seed : int
        Of the order.
    """

    rows: NDArray[np.int64]
    global_batch_size: int
    micro_batch_size: int
    epochs: float
    max_steps: int | None
    seed: int

    @property
    def samples(self) -> int:
        """How many samples are drawn in all."""
        drawn = max(1, round(self.epochs * len(self.rows)))
        if self.max_steps is not None:
            drawn = min(drawn, self.max_steps * self.global_batch_size)
        return drawn

    @property
    def steps(self) -> int:
        """Number of optimizer steps; the last batch may be short, nothing is left out."""
        return -(-self.samples // self.global_batch_size)

    def global_batch(self, step: int) -> NDArray[np.int64]:
        """Return the rows of a step, ``[at most global_batch_size]``."""
        first = step * self.global_batch_size
        draws = np.arange(first, min(first + self.global_batch_size, self.samples))
        epochs, places = np.divmod(draws, len(self.rows))
        orders = {epoch: self._order(int(epoch)) for epoch in np.unique(epochs)}
        picks = [orders[e][p] for e, p in zip(epochs, places, strict=True)]
        return self.rows[np.array(picks, dtype=np.int64)]

    def micro_batches(
        self, step: int, lengths: NDArray[np.int64], rank: int, world_size: int
    ) -> list[NDArray[np.int64]]:
        """Return one rank's micro-batches of a step.

        Samples of like length meet in a micro-batch, and each rank gets its share of the
        long ones, so that little is padded and no rank waits.

        Parameters
        ----------
        step : int
            From 0.
        lengths : ndarray of int
            Tokens of each row of the table.
        rank, world_size : int
            Of this process.

        Raises
        ------
        ConfigError
            If the global batch cannot be cut evenly.
        """
        accumulation = self.accumulation_steps(world_size)
        batch = self.global_batch(step)
        batch = batch[np.argsort(-lengths[batch], kind="stable")]
        missing = self.global_batch_size - len(batch)
        batch = np.concatenate([batch, np.full(missing, FILLER, dtype=np.int64)])
        return np.split(batch[rank::world_size], accumulation)

    def accumulation_steps(self, world_size: int) -> int:
        """Return how many micro-batches a rank runs in a step."""
        return accumulation_steps(self.global_batch_size, self.micro_batch_size, world_size)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        return _permutation(self.seed, epoch, len(self.rows))


@lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(size)


def collate(table: TokenTable, rows: NDArray[np.int64], pad_token_id: int) -> dict[str, Tensor]:
    """Make one padded micro-batch.

    Returns
    -------
    dict
        ``input_ids``, ``attention_mask`` and ``labels``, each ``[batch, length]``; labels are
        `ignore_index` outside the completion.
    """
    length = max((int(table.lengths[row]) for row in rows if row != FILLER), default=2)
    shape = (len(rows), length)
    input_ids = torch.full(shape, pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORE_INDEX, dtype=torch.long)
    for i, row in enumerate(rows):
        if row == FILLER:
            # One visible token: attention over nothing would be NaN.
            attention_mask[i, 0] = 1
            continue
        ids = torch.from_numpy(table.input_ids(int(row)).astype(np.int64))
        prompt = int(table.prompt_lengths[row])
        input_ids[i, : len(ids)] = ids
        attention_mask[i, : len(ids)] = 1
        labels[i, prompt : len(ids)] = ids[prompt:]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def by_length(
    lengths: NDArray[np.int64], rows: NDArray[np.int64], max_batch_tokens: int
) -> list[NDArray[np.int64]]:
    """Cut rows into batches of like length, each at most so many tokens with its padding.

    Parameters
    ----------
    lengths : ndarray of int
        Tokens of each row of the table.
    rows : ndarray of int
        The rows to cut.
    max_batch_tokens : int
        A longer row makes a batch of its own.
    """
    batches: list[NDArray[np.int64]] = []
    ordered = rows[np.argsort(-lengths[rows], kind="stable")]
    start = 0
    while start < len(ordered):
        size = max(1, max_batch_tokens // int(lengths[ordered[start]]))
        batches.append(ordered[start : start + size])
        start += size
    return batches
