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
        ``[slots, heads, capacity, head size]``; none before the first keys and values come.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots
        # Where the next step writes (``[rows]`` each), and how many positions it may see.
        self.rows = self.at = torch.empty(0, dtype=torch.long)
        self.width = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one position of each row, and return what the rows may attend to.

        Parameters
        ----------
        key_states, value_states : Tensor
            ``[rows, heads, 1, head size]``.

        Returns
        -------
        keys, values : Tensor
            ``[rows, heads, width, head size]``: views. What stands after the end of a row is
            finite, and for the mask to hide.
        """
        self._reserve(self.width, key_states, value_states)
        rows = len(self.rows)
        self.keys[self.rows, :, self.at] = key_states[:, :, 0]
        self.values[self.rows, :, self.at] = value_states[:, :, 0]
        return self.keys[:rows, :, : self.width], self.values[:rows, :, : self.width]

    def fill(self, first: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Write ``[rows, heads, positions, head size]`` from a slot and a position on."""
        rows, end = slice(first, first + len(keys)), start + keys.shape[2]
        self._reserve(end, keys, values)
        self.keys[rows, :, start:end] = keys
        self.values[rows, :, start:end] = values

    def _reserve(self, width: int, keys: Tensor, values: Tensor) -> None:
        if not self.is_initialized:
            self.keys = keys.new_empty((self._slots, keys.shape[1], 0, keys.shape[3]))
            self.values = values.new_empty((self._slots, values.shape[1], 0, values.shape[3]))
            self.is_initialized = True
        if width > self.keys.shape[2]:
            capacity = -(-width // _BLOCK) * _BLOCK
            self.keys, self.values = _grown(self.keys, capacity), _grown(self.values, capacity)


class Slots(Cache):
    """A cache of transformers whose rows are answers of different lengths.

    The rows in use are the first ones. transformers' own caches hold rows of one length, and
    copy everything for each token, or take the longest possible answer's memory at once.

    Parameters
    ----------
    layers : int
        Of the model.
    slots : int
        How many answers there can be at a time.
    """

    layers: list[SlotLayer]

    def __init__(self, layers: int, slots: int) -> None:
        super().__init__(layers=[SlotLayer(slots) for _ in range(layers)])
        self._slots = slots
        self._shared = 0

    def share(self, prefix: DynamicCache) -> None:
        """Begin all slots with the keys and values of one row: what all prompts begin with."""
        for own, given in zip(self.layers, prefix.layers, strict=True):
            rows = (self._slots, -1, -1, -1)
            own.fill(0, 0, _full(given.keys).expand(rows), _full(given.values).expand(rows))
        self._shared = prefix.get_seq_length()

    def fill(self, first: int, prompts: DynamicCache) -> None:
        """Take over the keys and values of prompts.

        Parameters
        ----------
        first : int
            Slot of the first row; the others follow.
        prompts : DynamicCache
            Of the shared positions and those that follow them, padded on the right.
        """
        own_part = slice(self._shared, None)
        for own, given in zip(self.layers, prompts.layers, strict=True):
            keys, values = _full(given.keys), _full(given.values)
            own.fill(first, self._shared, keys[:, :, own_part], values[:, :, own_part])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a slot to another one."""
        used = slice(self._shared, length)
        for layer in self.layers:
            _full(layer.keys)[target, :, used] = _full(layer.keys)[source, :, used]
            _full(layer.values)[target, :, used] = _full(layer.values)[source, :, used]

    def begin_step(
        self, lengths: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Say where each of the first rows writes its next position.

        Parameters
        ----------
        lengths : sequence of int
            Positions that a row has already, one number for each row.
        dtype, device
            Of the model.

        Returns
        -------
        position_ids : Tensor
            ``[rows, 1]``.
        attention_mask : Tensor
            ``[rows, 1, 1, width]``, to be added to the scores.
        """
        at = torch.tensor(lengths, device=device)
        rows = torch.arange(len(lengths), device=device)
        width = max(lengths) + 1
        for layer in self.layers:
            layer.rows, layer.at, layer.width = rows, at, width
        hidden = torch.arange(width, device=device) > at[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
        mask.masked_fill_(hidden, torch.finfo(dtype).min)
        return at[:, None], mask[:, None, None]


def _grown(old: Tensor, capacity: int) -> Tensor:
    # Zeros: an infinity in memory that nobody has written would pass through the mask as a NaN.
    new = old.new_zeros((old.shape[0], old.shape[1], capacity, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new


def _full(states: Tensor | None) -> Tensor:
    assert states is not None, "a layer without keys and values"
    return states
