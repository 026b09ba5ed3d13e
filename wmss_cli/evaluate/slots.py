"""The keys and values of answers that are generated side by side, each with its own length."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

_BLOCK = 256
"""Positions by which the memory grows: one copy for this many tokens costs next to nothing."""


class SlotLayer(DynamicLayer):
    """One layer of :class:`Slots`.

    Attributes
    ----------
    keys, values : Tensor
        ``[slots, heads, capacity, head size]``; None before the first keys and values arrive.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = slots
        # Where the next step writes (``[rows]`` each), and how many positions it may attend to.
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
            ``[rows, heads, width, head size]``: views. What follows the end of a row is finite, and
            the mask must hide it.
        """
        keys, values = self._reserve(self.width, key_states, value_states)
        keys[self.rows, :, self.at] = key_states[:, :, 0]
        values[self.rows, :, self.at] = value_states[:, :, 0]
        rows = len(self.rows)
        return keys[:rows, :, : self.width], values[:rows, :, : self.width]

    def fill(self, first: int, start: int, new_keys: Tensor, new_values: Tensor) -> None:
        """Write ``[rows, heads, positions, head size]``, beginning at a slot and a position."""
        rows, end = slice(first, first + len(new_keys)), start + new_keys.shape[2]
        keys, values = self._reserve(end, new_keys, new_values)
        keys[rows, :, start:end] = new_keys
        values[rows, :, start:end] = new_values

    def _reserve(self, width: int, like_keys: Tensor, like_values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory of all slots, with room for `width` positions."""
        keys, values = self.keys, self.values
        if keys is None or values is None:
            keys, values = (
                like.new_empty((self._slots, like.shape[1], 0, like.shape[3]))
                for like in (like_keys, like_values)
            )
            self.is_initialized = True
        if width > keys.shape[2]:
            capacity = -(-width // _BLOCK) * _BLOCK
            keys, values = _grown(keys, capacity), _grown(values, capacity)
        self.keys, self.values = keys, values
        return keys, values


class Slots(Cache):
    """A cache of transformers whose rows are answers of different lengths.

    The first rows are the ones in use. transformers' own caches hold rows of one length, and
    copy everything for each token, or reserve memory for the longest possible answer.

    Parameters
    ----------
    layers : int
        Number of the model's layers.
    slots : int
        Most answers at a time.
    """

    def __init__(self, layers: int, slots: int) -> None:
        self._own = [SlotLayer(slots) for _ in range(layers)]
        super().__init__(layers=[*self._own])
        self._slots = slots
        self._shared = 0

    def share(self, prefix: DynamicCache) -> None:
        """Start all slots with the keys and values of one row: the beginning that prompts share."""
        rows = (self._slots, -1, -1, -1)
        for layer, (keys, values) in zip(self._own, states(prefix), strict=True):
            layer.fill(0, 0, keys.expand(rows), values.expand(rows))
        self._shared = prefix.get_seq_length()

    def fill(self, first: int, prompts: DynamicCache) -> None:
        """Copy the keys and values of prompts.

        Parameters
        ----------
        first : int
            The slot of the first row; the others follow.
        prompts : DynamicCache
            Covers the shared positions and those that follow them, padded on the right.
        """
        start = self._shared
        for layer, (keys, values) in zip(self._own, states(prompts), strict=True):
            layer.fill(first, start, keys[:, :, start:], values[:, :, start:])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of a slot to another one."""
        used = slice(self._shared, length)
        for keys, values in states(self):
            keys[target, :, used] = keys[source, :, used]
            values[target, :, used] = values[source, :, used]

    def begin_step(
        self,
        lengths: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        windows: Collection[int | None] = (None,),
    ) -> tuple[Tensor, dict[int | None, Tensor]]:
        """Set where each of the first rows writes its next position.

        Parameters
        ----------
        lengths : sequence of int
            Number of positions that each row already has.
        dtype, device
            Those of the model.
        windows : collection of int or None
            How many positions its layers attend to, including the current one; None means all.

        Returns
        -------
        position_ids : Tensor
            ``[rows, 1]``.
        attention_masks : dict of int or None to Tensor
            For each window ``[rows, 1, 1, width]``, to be added to the scores.
        """
        at = torch.tensor(lengths, device=device)
        rows = torch.arange(len(lengths), device=device)
        width = max(lengths) + 1
        for layer in self._own:
            layer.rows, layer.at, layer.width = rows, at, width
        back = at[:, None] - torch.arange(width, device=device)
        masks = {}
        for window in windows:
            hidden = back < 0 if window is None else (back < 0) | (back >= window)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
            mask.masked_fill_(hidden, torch.finfo(dtype).min)
            masks[window] = mask[:, None, None]
        return at[:, None], masks


def _grown(old: Tensor, capacity: int) -> Tensor:
    # Zeros, since an infinity in unwritten memory would pass through the mask as a NaN.
    new = old.new_zeros((old.shape[0], old.shape[1], capacity, old.shape[3]))
    new[:, :, : old.shape[2]] = old
    return new


def states(cache: Cache) -> list[tuple[Tensor, Tensor]]:
    """Return keys and values of each layer, ``[rows, heads, positions, head size]``."""
    return [(layer.keys, layer.values) for layer in cast(list[Any], cache.layers)]
