"""Run a stage on this machine: one worker process a rank, watched until it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from wmss_cli.core.artifact import Job, describe, finished, partial, redo
from wmss_cli.core.errors import (
    ConfigError,
    IntegrityError,
    InterruptedRunError,
    StageError,
    WmssError,
)
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.core.progress import PROGRESS, Progress, read_progress
from wmss_cli.launch.leftovers import end_session
from wmss_cli.launch.worker import CRASHED, read_error, write_job
from wmss_cli.stages import table

_POLL_S = 0.1
_GRACE_S = 20.0
_ERRORS = {error.exit_code: error for error in (ConfigError, IntegrityError, InterruptedRunError)}
_FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its manifest, and whether it was done before."""

    manifest: Manifest
    was_done: bool


def run_local(
    job: Job,
    processes: int = 1,
    force: bool = False,
    watch: Callable[[Progress | None], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run a stage unless its result is there already.

    Parameters
    ----------
    job : Job
        What to run.
    processes : int
        Ranks of a training stage; other stages are one process.
    force : bool
        Make it again, from the beginning. A result that is there stays until the new one is whole.
    watch : callable
        Is given the stage's progress several times a second.
    say : callable
        Is given a line for the user where waiting needs a reason.

    Raises
    ------
    WmssError
        As the stage raised it; :class:`StageError` where its process died without a word.
    """
    out = Path(job.out)
    if force:
        redo({out: describe(job)[0]})
    manifest = finished(job)
    if manifest is not None:
        return Outcome(manifest, was_done=True)
    log = log_path(out)
    log.parent.mkdir(parents=True, exist_ok=True)
    (partial(out) / PROGRESS).unlink(missing_ok=True)
    ranks = processes if table.find(job.stage).distributed else 1
    with tempfile.TemporaryDirectory(prefix="wmss-") as control:
        write_job(Path(control), job)
        with log.open("ab") as stream:
            workers = _Workers(Path(control), ranks, stream.fileno())
            try:
                codes = workers.wait(lambda: watch(read_progress(partial(out))), say)
            finally:
                workers.kill()
        if any(codes):
            raise _failure(job, codes, workers.first_failure, Path(control), log)
        if workers.asked_to_stop:
            raise InterruptedRunError(
                f"stopped after {job.stage}, which is done; the same command continues"
            )
    return Outcome(read_manifest(out), was_done=False)


def log_path(out: Path) -> Path:
    """Return the file that gets all output of the workers of an artifact."""
    return out.parent / "logs" / f"{out.name}.log"


class _Workers:
    """The processes of one stage, and the signals that reach them."""

    def __init__(self, control: Path, ranks: int, output: int) -> None:
        self.asked_to_stop = False
        self.first_failure = 0
        self._wanted: list[int] = []
        self._restore = {number: signal.getsignal(number) for number in _FORWARDED}
        for number in _FORWARDED:
            signal.signal(number, self._note)
        port = _free_port()
        threads = max(1, len(os.sched_getaffinity(0)) // ranks)
        self._processes: list[subprocess.Popen[bytes]] = []
        for rank in range(ranks):
            environment = {
                "OMP_NUM_THREADS": str(threads),
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TOKENIZERS_PARALLELISM": "true",
            }
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "wmss_cli.launch.worker", str(control)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Ctrl-C reaches the launcher alone, which asks all ranks to save together.
                    start_new_session=True,
                )
            )

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._wanted.append(number)

    def wait(self, poll: Callable[[], None], say: Callable[[str], None]) -> list[int]:
        """Wait for all ranks and return their exit codes; a failed rank ends the others."""
        failed_at: float | None = None
        while any(process.poll() is None for process in self._processes):
            try:
                poll()
                time.sleep(_POLL_S)
                while self._wanted:
                    self.asked_to_stop = True
                    self._send(self._wanted.pop())
            except KeyboardInterrupt:
                if self.asked_to_stop:
                    raise
                self.asked_to_stop = True
                say("stopping; training saves after this step first (Ctrl-C again: stop at once)")
                self._send(signal.SIGTERM)
            failures = [code for process in self._processes if (code := process.poll())]
            if failed_at is None and failures:
                failed_at = time.monotonic()
                self.first_failure = failures[0]
            if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
                self.kill()
        return [process.wait() for process in self._processes]

    def kill(self) -> None:
        """End what still runs, and give the signals back."""
        self._send(signal.SIGKILL)
        for process in self._processes:
            process.wait()
            # A worker that was killed could not end what it had started.
            end_session(process.pid)
        for number, handler in self._restore.items():
            signal.signal(number, handler)

    def _send(self, number: int) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(number)


def _failure(job: Job, codes: list[int], first_failure: int, control: Path, log: Path) -> WmssError:
    report = read_error(control)
    if report is None or (first_failure < 0 and report["exit_code"] == CRASHED):
        # A rank that was killed says nothing; what the others report is only its echo.
        if -first_failure in _FORWARDED:
            # Stopped before it could catch the signal, or a stage that has nothing to save.
            how = f"stopped by {signal.Signals(-first_failure).name}"
            return InterruptedRunError(f"{job.stage}: {how}; the same command continues")
        how = f"exit code {max(codes)}"
        if first_failure < 0:
            how = f"killed by {signal.Signals(-first_failure).name}"
        return StageError(f"{job.stage}: its process ended without a word ({how}); see {log}")
    kind = _ERRORS.get(report["exit_code"], StageError)
    error = kind(report["message"])
    if report["exit_code"] == CRASHED:
        error = StageError(f"{job.stage}: {report['message']}; see {log}")
    error.__notes__ = [report["traceback"]]
    return error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
