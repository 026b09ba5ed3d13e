"""Messages between ranks through the store of the process group, however long they take.

It uses no collectives: these have a time limit that detects a hang, and ranks may wait for hours
while the first one exports a model or converts a checkpoint.
"""

from __future__ import annotations

import itertools
import os
import pickle
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

_PATIENCE = timedelta(hours=24)
# The store exists with the process group, unless the first rank has already gone.
_CONNECT = timedelta(minutes=5)
# They have nothing left to wait for, unless they fail in another way.
_PARTING = timedelta(seconds=10)
_numbers = itertools.count()

_T = TypeVar("_T")


def connect(timeout: timedelta) -> TCPStore:
    """Return a separate connection to the store that the first rank serves.

    Parameters
    ----------
    timeout : timedelta
        Limit for each request, and for the connection if it is less than five minutes.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    limit = min(timeout, _CONNECT)
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=limit)
    store.set_timeout(timeout)
    return store


class RankMessages:
    """Passes values between ranks; all ranks make the same calls in the same order.

    Parameters
    ----------
    rank, world_size : int
        As in torch.distributed; the process group must exist.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self._rank = rank
        self._world_size = world_size
        self._store = connect(_PATIENCE)
        # A process may join more than once, and the store keeps old messages.
        self._name = f"messages/{next(_numbers)}"
        self._round = 0
        self._told = ""

    def gather(self, value: _T) -> list[_T]:
        """Return the values of all ranks, on all ranks."""
        self._round += 1
        keys = [f"{self._name}/{self._round}/{rank}" for rank in range(self._world_size)]
        self._store.set(keys[self._rank], pickle.dumps(value))  # type: ignore[arg-type]
        values: list[_T] = [pickle.loads(data) for data in self._store.multi_get(keys)]
        # All ranks are in this round, so none still reads the previous one.
        if self._told:
            self._store.delete_key(self._told)
        self._told = keys[self._rank]
        return values

    def from_first(self, value: _T) -> _T:
        """Return the first rank's value, on all ranks."""
        self._round += 1
        key = f"{self._name}/{self._round}"
        if self._rank == 0:
            self._store.set(key, pickle.dumps(value))  # type: ignore[arg-type]
            return value
        found: _T = pickle.loads(self._store.get(key))
        return found

    def leave(self) -> None:
        """Leave for good. The first rank, which serves the store, briefly waits for the others."""
        with suppress(dist.DistError, RuntimeError):
            self._store.set(f"{self._name}/parted/{self._rank}", "")
            if self._rank == 0:
                keys = [f"{self._name}/parted/{rank}" for rank in range(self._world_size)]
                self._store.wait(keys, _PARTING)
