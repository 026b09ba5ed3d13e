"""One rank of one stage, in a process of its own: ``python -m wmss_cli.launch.worker HANDOVER``.

HANDOVER is a folder with ``job.json``. If the stage fails, ``error-RANK.json`` says why in one
line, and the process ends with the exit code of that error.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.util import get_temp_dir
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from wmss_cli.core.artifact import Job
from wmss_cli.core.errors import InterruptedRunError, WmssError, chain, explain
from wmss_cli.core.files import naming
from wmss_cli.core.process_end import close_all, ends_by
from wmss_cli.stages import table

_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_ROOM_BYTES = 16384
_ROUNDS = 5
_AGAIN_S = 0.05
# A process that is killed may just have started another one.
_TRACKER = b"multiprocessing.resource_tracker"
# It ends by itself when the others have, and removes what they left in shared memory.
CRASHED = 70
"""Exit code of a worker after an error that is not the user's doing."""


def write_job(handover: Path, job: Job) -> None:
    """Write what :func:`main` reads."""
    path = handover / "job.json"
    with naming(path):
        path.write_text(json.dumps(asdict(job)), encoding="utf-8")


def read_error(handover: Path, rank: int | None = None) -> dict[str, Any] | None:
    """Return the first error; one that says what to do comes before one that does not.

    When a rank fails, the others fail too, with an error about a lost connection.

    Parameters
    ----------
    handover : Path
        What launcher and worker hand to each other.
    rank : int, optional
        Return only the error of this rank.
    """
    errors = handover.glob("error-*.json" if rank is None else f"error-{rank:05d}.json")
    paths = sorted(errors, key=lambda path: path.stat().st_mtime_ns)
    found = [error for path in paths if (error := _read_one(path)) is not None]
    return min(found, key=lambda error: error["exit_code"] == CRASHED, default=None)


def _read_one(path: Path) -> dict[str, Any] | None:
    """Return an error; None if it is empty or cut short, because the disk was full."""
    try:
        error = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return error if isinstance(error, dict) and {"message", "exit_code"} <= error.keys() else None


def main(handover: Path) -> int:
    """Run the job of a handover folder and return the exit code."""
    _die_with_parent()
    return run(lambda: _run_job(handover), handover)


def _run_job(handover: Path) -> None:
    job = Job(**json.loads((handover / "job.json").read_text(encoding="utf-8")))
    table.run(job)


def run(
    work: Callable[[], None],
    handover: Path,
    then: Callable[[int, BaseException | None], int] = lambda code, _: code,
) -> int:
    """Do the work and return the exit code; an error is written to `handover`.

    A signal ends the work with :class:`InterruptedRunError`, also where Python only reports errors,
    as in ``__del__``; unless the work handles it itself, as training does.

    Parameters
    ----------
    work : callable
        It raises what goes wrong.
    handover : Path
        Folder to write the error to.
    then : callable
        Called with the exit code and the error; returns the exit code that counts. If a thread
        ends the process, it is called from there.
    """
    path = handover / f"error-{int(os.environ.get('RANK', '0')):05d}.json"
    path.unlink(missing_ok=True)
    room = path.with_suffix(".room")
    with suppress(OSError):
        # If the disk is full later, there is still room for the error.
        room.write_bytes(b" " * _ROOM_BYTES)

    def end(error: WmssError, where: str) -> NoReturn:
        leave(then(_write_error(path, error, f"{where}{type(error).__name__}: {error}\n"), error))

    ends_by(end)
    try:
        # Here, so that a signal is an error of the work from the first moment on.
        sys.unraisablehook = _stop_again
        for number in _STOPPING:
            signal.signal(number, _stop)
        work()
        _ignore_stops()
    except BaseException as raised:
        # A second signal must not interrupt what the first one began.
        _ignore_stops()
        stopped = _stopped_in(raised)
        error = InterruptedRunError(str(stopped)) if stopped else raised
        return then(_write_error(path, error, traceback.format_exc()), error)
    room.unlink(missing_ok=True)
    return then(0, None)


def _write_error(path: Path, error: BaseException, where: str) -> int:
    """Write an error, and return its exit code."""
    known = explain(error)
    code = known.exit_code if known else CRASHED
    first_line = next(iter(str(error).splitlines()), "")
    report = {
        "message": str(known) if known else f"{type(error).__name__}: {first_line}",
        "exit_code": code,
        "traceback": where[-_ROOM_BYTES // 2 :],
    }
    # The log may be on the full disk; that must not hide the error.
    with suppress(OSError):
        print(where, end="", file=sys.stderr, flush=True)  # noqa: T201
    with suppress(OSError):
        room = path.with_suffix(".room")
        with room.open("r+b" if room.exists() else "wb") as file:
            # White space after a report does not belong to it.
            file.write(json.dumps(report).encode().ljust(_ROOM_BYTES))
        room.rename(path)
    return code


def leave(code: int) -> NoReturn:
    """End the process at once: it must not wait for the threads of a broken process group."""
    # Only the main thread may set this; another thread leaves because the main one is stuck.
    if threading.current_thread() is threading.main_thread():
        _ignore_stops()
    close_all()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    # Nor does it wait for processes that it has started, such as the workers of an engine.
    end_descendants()
    # An orderly end would remove this: the folder of the socket to multiprocessing's server.
    shutil.rmtree(get_temp_dir(), ignore_errors=True)
    os._exit(code)


class _Stopped(BaseException):
    """Not an Exception: code that catches those, such as an optional import, would continue."""

    def __init__(self, number: int) -> None:
        # With an __init__ of its own: Python rewords a plain exception that passes through a codec.
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues")
        self.number = number


def _ignore_stops() -> None:
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Stopped(number)


def _stop_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Send a stop again that Python only reports, as it does with errors in ``__del__``."""
    stopped = unraisable.exc_value
    if not isinstance(stopped, _Stopped):
        sys.__unraisablehook__(unraisable)
        return
    main = threading.main_thread().ident
    # Later, since what is raised in this function is lost as well.
    timer = threading.Timer(_AGAIN_S, signal.pthread_kill, (main, stopped.number))
    timer.daemon = True
    timer.start()


def _stopped_in(raised: BaseException) -> _Stopped | None:
    """Return the stop that an error is, or that a library has made another error of."""
    return next((error for error in chain(raised) if isinstance(error, _Stopped)), None)


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the launcher is gone: no rank continues without it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


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
    """Yield the processes of this machine, on Linux, without zombies."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name may contain spaces and brackets; what follows it does not.
            words = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            if words[0] not in "ZX" and _TRACKER not in (folder / "cmdline").read_bytes():
                yield _Process(int(folder.name), int(words[1]), int(words[3]))


if __name__ == "__main__":
    leave(main(Path(sys.argv[1])))
