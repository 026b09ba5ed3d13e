"""The keys and values of answers that are written side by side, each at its own length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

_BLOCK = 256
"""Positions by which the memory grows: a copy every so many tokens costs nothing."""


class SlotLayer(DynamicLayer):
    """One layer of :class:`Slots`.

    Attributes
    ----------
    keys, values : Tensor
        ``[slots, heads, capacity, head_dim]``.
    """

    def __init__(self, like: Tensor, slots: int) -> None:
        super().__init__()
        self.keys = like.new_empty((slots, like.shape[1], 0, like.shape[3]))
        self.values = torch.empty_like(self.keys)
        self.is_initialized = True
        self.rows = self.at = torch.empty(0, dtype=torch.long, device=like.device)
        self.width = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one position of each row, and return what the rows may attend to.

        Parameters
        ----------
        key_states, value_states : Tensor
            ``[rows, heads, 1, head_dim]``.

        Returns
        -------
        keys, values : Tensor
            ``[rows, heads, width, head_dim]``: views, with left-overs after the end of a row.
        """
        rows = len(self.rows)
        self.keys[self.rows, :, self.at] = key_states[:, :, 0]
        self.values[self.rows, :, self.at] = value_states[:, :, 0]
        return self.keys[:rows, :, : self.width], self.values[:rows, :, : self.width]

    def reserve(self, width: int) -> None:
        """Make room for so many positions."""
        if width > self.keys.shape[2]:
            capacity = -(-width // _BLOCK) * _BLOCK
            self.keys, self.values = _grown(self.keys, capacity), _grown(self.values, capacity)


class Slots(Cache):
    """A cache of transformers whose rows are answers at different lengths.

    The rows in use are the first ones. transformers' own caches hold rows of one length, and
    copy everything for each token, or the longest possible answer from the beginning.

    Parameters
    ----------
    prefix : DynamicCache
        One row: what all prompts begin with. It gives layers, heads, type and device.
    slots : int
        How many answers there can be at a time.
    """

    layers: list[SlotLayer]

    def __init__(self, prefix: DynamicCache, slots: int) -> None:
        super().__init__(layers=[SlotLayer(layer.keys, slots) for layer in prefix.layers])
        self._shared = prefix.get_seq_length()
        for own, given in zip(self.layers, prefix.layers, strict=True):
            own.reserve(self._shared)
            own.keys[:, :, : self._shared] = given.keys
            own.values[:, :, : self._shared] = given.values

    def fill(self, first: int, prompts: DynamicCache) -> None:
        """Take over the keys and values of prompts, the prefix before them, padded on the right.

        Parameters
        ----------
        first : int
            Slot of the first row; the others follow.
        prompts : DynamicCache
            Of the prefix and what follows it.
        """
        width = prompts.get_seq_length()
        for own, given in zip(self.layers, prompts.layers, strict=True):
            own.reserve(width)
            rows = slice(first, first + len(given.keys))
            own.keys[rows, :, self._shared : width] = given.keys[:, :, self._shared :]
            own.values[rows, :, self._shared : width] = given.values[:, :, self._shared :]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of one slot to another one."""
        used = slice(self._shared, length)
        for layer in self.layers:
            layer.keys[target, :, used] = layer.keys[source, :, used]
            layer.values[target, :, used] = layer.values[source, :, used]

    def begin_step(self, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Say where each of the first rows writes its next position.

        Parameters
        ----------
        lengths : sequence of int
            Positions that a row has already, one number for each row.

        Returns
        -------
        position_ids : Tensor
            ``[rows, 1]``.
        attention_mask : Tensor
            ``[rows, 1, 1, width]``, to be added to the scores.
        """
        example = self.layers[0].keys
        width = max(lengths) + 1
        at = torch.tensor(lengths, device=example.device)
        rows = torch.arange(len(lengths), device=example.device)
        for layer in self.layers:
            layer.reserve(width)
            layer.rows, layer.at, layer.width = rows, at, width
        hidden = torch.arange(width, device=example.device) > at[:, None]
        mask = torch.zeros(hidden.shape, dtype=example.dtype, device=example.device)
        mask.masked_fill_(hidden, torch.finfo(mask.dtype).min)
        return at[:, None], mask[:, None, None]


def _grown(old: Tensor, capacity: int) -> Tensor:
    new = old.new_empty((old.shape[0], old.shape[1], capacity, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new
