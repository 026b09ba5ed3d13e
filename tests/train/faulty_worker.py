"""The real worker with a fault in it: ``faulty_worker.py HANDOVER FAULT COUNT``.

``forward`` kills the process with SIGKILL in its COUNT-th forward pass, ``save`` after it has
written its COUNT-th checkpoint file, ``signal`` sends SIGUSR1 to itself in its COUNT-th forward
pass, ``slow`` does so while a checkpoint is being written, ``nan`` makes the loss of its COUNT-th
forward pass NaN, ``sleep`` hangs in its COUNT-th forward pass, ``watch`` copies the checkpoints at
each moment at which a kill would leave something else, ``none`` does nothing. The ranks without
the fault are ``beside`` it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from wmss_cli.launch import worker


def break_things(fault: str, count: int) -> None:
    from wmss_cli.train import state_files
    from wmss_cli.train.pair import WeakStrongPair

    calls = 0

    def count_call() -> bool:
        nonlocal calls
        calls += 1
        return calls == count

    if fault == "watch":
        watch(Path(os.environ["WATCHED"]), Path(os.environ["SEEN"]))
        return
    if fault == "slow":
        write = state_files.write_states

        def slow_write(path: Path, states: Any) -> str:
            time.sleep(1.5)
            return write(path, states)

        state_files.write_states = slow_write
    else:
        # Each checkpoint is whole at the step after it, however slow the disk is.
        settled = property(lambda self: bool(self._written and not wait([self._written])))
        state_files.StateFiles.busy = settled
    if fault == "beside":
        return
    if fault == "save":
        write = state_files.write_states

        def last_write(path: Path, states: Any) -> str:
            digest = write(path, states)
            if count_call():
                os.kill(os.getpid(), signal.SIGKILL)
            return digest

        state_files.write_states = last_write
        return
    forward = WeakStrongPair.forward

    def faulty_forward(self: WeakStrongPair, *args: Any, **kwargs: Any) -> Any:
        loss, sums = forward(self, *args, **kwargs)
        if count_call():
            if fault == "nan":
                return loss * float("nan"), sums * float("nan")
            if fault == "sleep":
                time.sleep(1000)
            os.kill(os.getpid(), signal.SIGKILL if fault == "forward" else signal.SIGUSR1)
        return loss, sums

    WeakStrongPair.forward = faulty_forward


def watch(folder: Path, seen: Path) -> None:
    """Copy `folder` to ``seen/NUMBER`` before each change of it, and within long writes."""
    from wmss_cli.train.state_files import _HashedFile

    inside = threading.local()
    lock = threading.Lock()
    count = itertools.count()

    def look() -> None:
        inside.looking = True
        with lock, suppress(FileNotFoundError):
            if folder.is_dir():
                # A name is gone while it is copied: another thread's moment, not this one's.
                shutil.copytree(folder, seen / f"{next(count):04d}")
        inside.looking = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")
        if not changes or getattr(inside, "looking", False):
            return
        reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not reads and str(folder) in str(arguments[0]):
            look()

    write = _HashedFile.write
    writes = itertools.count(1)

    def seen_write(self: Any, data: bytes) -> int:
        length = write(self, data)
        if next(writes) % 40 == 0:
            look()
        return length

    _HashedFile.write = seen_write
    sys.addaudithook(hook)


if __name__ == "__main__":
    if sys.argv[2] != "none":
        break_things(sys.argv[2], int(sys.argv[3]))
    code = worker.main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)
