"""What a process has started and not ended: it must not outlive the stage, and keep its GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_ROUNDS = 5
# What is killed may just have started another one.
_TRACKER = b"multiprocessing.resource_tracker"
# It ends by itself when the others have, and removes what they left in shared memory.


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int


def end_descendants() -> None:
    """Kill all processes that this one has started, and those that they have started."""
    for _ in range(_ROUNDS):
        if not _kill(_below(os.getpid(), list(_running()))):
            return


def end_session(leader: int) -> None:
    """Kill what is left of the session of a process that has ended."""
    for _ in range(_ROUNDS):
        if not _kill(process.pid for process in _running() if process.session == leader):
            return


def _kill(pids: Iterator[int]) -> bool:
    killed = False
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed = True
    return killed


def _below(pid: int, running: list[_Process]) -> Iterator[int]:
    for process in running:
        if process.parent == pid:
            yield process.pid
            yield from _below(process.pid, running)


def _running() -> Iterator[_Process]:
    """Yield the processes of this machine, on Linux, without the dead that nobody waited for."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name may hold spaces and brackets; what follows it does not.
            words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if words[0] not in "ZX" and _TRACKER not in (folder / "cmdline").read_bytes():
                yield _Process(int(folder.name), int(words[1]), int(words[3]))
