"""Ends a training that hangs, and says which rank is behind.

If one rank hangs, all others wait for it in a collective, and look the same from outside. So a
thread of each rank writes its rank's progress into the process group's store, reads that of the
others, and ends its process if one has made no progress within the limit.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from wmss_cli.core.errors import HangError
from wmss_cli.core.process_end import end_process
from wmss_cli.train.rank_messages import connect

_LONGEST_PAUSE_S = 10.0
_ANSWER = timedelta(seconds=30)
_PATIENCE_S = 6 * 3600.0
_END = "watchdog/end"
_SUSPENDED = 0.5
"""Share of the limit: a thread that slept this much longer than requested was not running."""
_SILENT = 0.5
"""Share of the limit: if a rank is late, one that has been silent this long is the one behind."""


@dataclass(frozen=True)
class Place:
    """The progress of a rank.

    Attributes
    ----------
    number : int
        Number of this message of the rank.
    age_s : float
        Time since its last progress.
    patient : bool
        Whether it is doing something that may take long.
    progress : tuple of int
        Number of collectives that it has started, and of signs of life.
    step : int
        Number of optimizer steps done.
    host, at : str
        The host of its process, and the current line of the program.
    """

    number: int
    age_s: float
    patient: bool
    progress: tuple[int, int]
    step: int
    host: str
    at: str


class Watchdog:
    """Watches the ranks of a training, from a thread of each of them.

    It is patient until :meth:`strict` is entered, since loading and exporting may take long.

    Parameters
    ----------
    rank, world_size : int
        As in torch.distributed.
    limit_s : float
        Longest time that a rank may take for a micro-batch, or to write a line.
    """

    def __init__(self, rank: int, world_size: int, limit_s: float) -> None:
        self._rank = rank
        self._world_size = world_size
        self._limit_s = limit_s
        self._pause_s = min(_LONGEST_PAUSE_S, limit_s / 10)
        self._patient = True
        self._beats = 0
        self._since = time.monotonic()
        self._step = 0
        self._stopped = threading.Event()
        self._main = threading.get_ident()

    def start(self) -> None:
        """Start watching."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching: this rank is about to end."""
        self._stopped.set()

    def beat(self, step: int | None = None) -> None:
        """Report that this rank continues.

        Parameters
        ----------
        step : int, optional
            Number of optimizer steps done.
        """
        self._beats += 1
        self._since = time.monotonic()
        if step is not None:
            self._step = step

    @contextmanager
    def strict(self) -> Iterator[None]:
        """Enforce the limit."""
        with self._mode(patient=False):
            yield

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Allow this rank to take long."""
        with self._mode(patient=True):
            yield

    @contextmanager
    def _mode(self, patient: bool) -> Iterator[None]:
        before, self._patient = self._patient, patient
        self.beat()
        try:
            yield
        finally:
            self._patient = before
            self.beat()

    def _run(self) -> None:
        store: TCPStore | None = None
        number = 0
        heard = dict.fromkeys(range(self._world_size), time.monotonic())
        places: dict[int, Place] = {}
        while True:
            asleep = time.monotonic()
            if self._stopped.wait(self._pause_s):
                return
            number += 1
            awake = time.monotonic()
            if awake - asleep > self._pause_s + _SUSPENDED * self._limit_s:
                # This process was stopped as a whole, so it is not late: all restart their count.
                self._since = awake
                heard = dict.fromkeys(heard, awake)
                places.clear()
                continue
            try:
                if self._world_size > 1:
                    store = store or connect(_ANSWER)
                found = self._exchange(store, number)
            except (dist.DistError, RuntimeError):
                # The first rank serves the store: if it is gone for good, it counts as silent.
                store, found = None, {rank: p for rank, p in places.items() if rank}
                heard.update(dict.fromkeys(found, time.monotonic()))
            for rank, place in found.items():
                if rank not in places or place.number != places[rank].number:
                    heard[rank] = time.monotonic()
            places |= found
            now = time.monotonic()
            error = self._judge(places, {rank: now - then for rank, then in heard.items()})
            if store is not None:
                error = self._agree(store, error)
            if error is not None and not self._stopped.is_set():
                if self._rank == 0:
                    # The others read the error from the store, which ends with this process.
                    time.sleep(2 * self._pause_s)
                end_process(error, self._stack())

    def _exchange(self, store: TCPStore | None, number: int) -> dict[int, Place]:
        """Report this rank's progress, and return that of all ranks."""
        mine = Place(
            number,
            time.monotonic() - self._since,
            self._patient,
            (_collectives(), self._beats),
            self._step,
            socket.gethostname(),
            self._at(),
        )
        if store is None:
            return {self._rank: mine}
        store.set(f"watchdog/{self._rank}", json.dumps(asdict(mine)))
        keys = [f"watchdog/{rank}" for rank in range(self._world_size)]
        said = [rank for rank, key in enumerate(keys) if store.check([key])]
        found = {}
        for rank, text in zip(said, store.multi_get([keys[rank] for rank in said]), strict=True):
            values = json.loads(text)
            found[rank] = Place(**values | {"progress": tuple(values["progress"])})
        return found

    def _judge(
        self, places: Mapping[int, Place], silent_s: Mapping[int, float]
    ) -> HangError | None:
        """Return the error that names who is behind; None if all make progress."""
        allowed = self._limit_s + 3 * self._pause_s
        silent = [rank for rank, seconds in silent_s.items() if seconds > allowed]
        late = [
            rank
            for rank, place in places.items()
            if place.age_s > (_PATIENCE_S if place.patient else self._limit_s)
        ]
        if not silent and not late:
            return None
        if not silent:
            # A rank stopped as a whole may be in the same collective as those that wait for it.
            silent = [r for r, seconds in silent_s.items() if seconds > _SILENT * self._limit_s]
        if silent:
            behind = silent
        else:
            # A rank that waits patiently waits for one of the others.
            among = [rank for rank, place in places.items() if not place.patient] or late
            least = min(places[rank].progress for rank in among)
            behind = [rank for rank in among if places[rank].progress == least]
        return HangError(self._message(behind, places), tuple(behind))

    def _message(self, behind: list[int], places: Mapping[int, Place]) -> str:
        names = []
        for rank in behind:
            place = places.get(rank)
            where = "host unknown" if place is None else f"host {place.host}, at {place.at}"
            names.append(f"rank {rank} ({where})")
        step = max((place.step for place in places.values()), default=0)
        long = f"for {self._limit_s / 60:.3g} min, since step {step}"
        if len(behind) == self._world_size > 1:
            said = f"none of the {self._world_size} ranks has made progress {long}; {names[0]}"
        elif len(behind) == 1:
            said = f"{names[0]} has not answered {long}"
        else:
            said = f"{', '.join(names)} have not answered {long}"
        return f"{said}; the same command continues from the last checkpoint"

    def _agree(self, store: TCPStore, error: HangError | None) -> HangError | None:
        """Return the error of the first rank that reported one: all must name the same rank."""
        with suppress(dist.DistError, RuntimeError):
            if error is not None:
                mine = json.dumps({"message": str(error), "behind": error.behind})
                told = store.compare_set(_END, "", mine)
            elif store.check([_END]):
                told = store.get(_END)
            else:
                return None
            values = json.loads(told)
            return HangError(values["message"], tuple(values["behind"]))
        return error

    def _at(self) -> str:
        frame = sys._current_frames().get(self._main)
        if frame is None:
            return "an end"
        return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}, {frame.f_code.co_name}"

    def _stack(self) -> str:
        """Return the current line of the main thread."""
        frame = sys._current_frames().get(self._main)
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _collectives() -> int:
    """Return how many collectives this rank has started, in all groups."""
    count = 0
    for group in list(dist.distributed_c10d._world.pg_map):
        with suppress(RuntimeError):
            count += group._get_sequence_number_for_group()  # type: ignore[attr-defined]
    return count
