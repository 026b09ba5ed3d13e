"""Run a stage on this machine: in one worker process or in several, watched until they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from wmss_cli.core.artifact import Job, describe, finished, partial, redo
from wmss_cli.core.errors import (
    ConfigError,
    IntegrityError,
    InterruptedRunError,
    StageError,
    StorageError,
    WmssError,
)
from wmss_cli.core.launcher_variables import without_launchers
from wmss_cli.core.manifest import Manifest, read_manifest
from wmss_cli.core.ports import free_port
from wmss_cli.core.progress import PROGRESS, Progress, read_progress
from wmss_cli.launch.worker import CRASHED, end_session, read_error, write_job
from wmss_cli.stages import table
from wmss_cli.stages.shard_queue import QUEUE
from wmss_cli.stages.shards import cut, shard_jobs

_POLL_S = 0.1
_GRACE_S = 20.0
_ERRORS = {error.exit_code: error for error in (ConfigError, IntegrityError, InterruptedRunError)}
_FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
# The driver is asked, since it alone knows what CUDA_VISIBLE_DEVICES means; in a process of its
# own, since it keeps the GPUs open in the process that asks.
_COUNT_GPUS = """
import ctypes
try:
    driver = ctypes.CDLL("libcuda.so.1")
except OSError:
    print(0)
else:
    found = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(found))
    print(0 if failed else found.value)
"""


@dataclass(frozen=True)
class Outcome:
    """The result of a job.

    Attributes
    ----------
    manifest : Manifest
        Manifest of the result.
    was_done : bool
        Whether it existed before.
    seconds : float
        How long this attempt took.
    """

    manifest: Manifest
    was_done: bool
    seconds: float = 0.0


def run_local(
    job: Job,
    processes: int | None = None,
    force: bool = False,
    watch: Callable[[Progress | None], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run a stage unless its result exists already.

    Parameters
    ----------
    job : Job
        What to run.
    processes : int, optional
        Ranks of a training stage, or how many do shards at the same time; by default one per
        visible GPU, or one on a CPU. Other stages are one process.
    force : bool
        Make it again, from the beginning. An existing result stays until the new one is complete.
    watch : callable
        Called with the stage's progress several times a second.
    say : callable
        Called with a line for the user when waiting needs a reason.

    Raises
    ------
    WmssError
        As the stage raised it; :class:`StageError` if its process died without an error message.
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
    started = time.monotonic()
    gpus = visible_gpus()
    count = count_processes(job, processes, len(gpus))
    if table.has_shards(job.stage):
        job, count = _share(job, count, say)
    with tempfile.TemporaryDirectory(prefix="wmss-") as handover:
        write_job(Path(handover), job)
        with log.open("ab") as stream:
            workers = _Workers(job, Path(handover), count, gpus, stream.fileno())
            try:
                codes = workers.wait(lambda: watch(read_progress(partial(out))), say)
            finally:
                workers.kill()
        if any(codes):
            raise _failure(job, codes, workers, Path(handover), log)
        if workers.asked_to_stop:
            raise InterruptedRunError(
                f"stopped after {job.stage}, which is done; the same command continues"
            )
    return Outcome(read_manifest(out), was_done=False, seconds=time.monotonic() - started)


def _share(job: Job, processes: int, say: Callable[[str], None]) -> tuple[Job, int]:
    """Fix the number of shards, and of the processes that get one to do."""
    job = cut(job, processes)
    shards = len(shard_jobs(job))
    if shards < processes:
        say(
            f"{job.stage}: {processes} processes, but shards: {shards}, so some do nothing; "
            f"{table.find(job.stage).section}.shards={processes} makes all again, for all of them"
        )
    return job, min(shards, processes)


def log_path(out: Path) -> Path:
    """Return the file that gets all output of an artifact's workers."""
    return out.parent / "logs" / f"{out.name}.log"


class _Workers:
    """The processes of one stage, and the signals that reach them.

    The ranks of a training stage need each other. Workers that share shards do not: if one fails,
    the others are asked to stop.
    """

    def __init__(
        self, job: Job, handover: Path, count: int, gpus: Sequence[str], output: int
    ) -> None:
        self.asked_to_stop = False
        self.first_failure = 0
        self.first_failed: int | None = None
        self.share = table.has_shards(job.stage)
        self._wanted: list[int] = []
        self._restore = {number: signal.getsignal(number) for number in _FORWARDED}
        for number in _FORWARDED:
            signal.signal(number, self._note)
        port = free_port()
        threads = max(1, len(os.sched_getaffinity(0)) // count)
        self._processes: list[subprocess.Popen[bytes]] = []
        for rank in range(count):
            environment = {
                "OMP_NUM_THREADS": str(threads),
                **without_launchers(os.environ),
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TOKENIZERS_PARALLELISM": "true",
            }
            if self.share:
                environment[QUEUE] = str(handover / "queue")
            if self.share and count > 1 and rank < len(gpus):
                # An engine that knows nothing about ranks (vLLM) takes the first GPU that it sees.
                environment |= {"CUDA_VISIBLE_DEVICES": gpus[rank], "LOCAL_RANK": "0"}
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "wmss_cli.launch.worker", str(handover)],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # Ctrl-C reaches only the launcher, which asks all ranks to save together.
                    start_new_session=True,
                )
            )

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._wanted.append(number)

    def wait(self, poll: Callable[[], None], say: Callable[[str], None]) -> list[int]:
        """Wait for all and return their exit codes; one that fails ends the others."""
        failed_at: float | None = None
        while True:
            try:
                alive = [process for process in self._processes if not _has_ended(process)]
                failures = [rank for rank, one in enumerate(self._processes) if one.returncode]
                if self.first_failed is None and failures:
                    failed_at = time.monotonic()
                    self.first_failed = failures[0]
                    self.first_failure = self._processes[failures[0]].returncode
                    if self.share:
                        self._send(signal.SIGTERM)
                if not alive:
                    return [process.returncode for process in self._processes]
                if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
                    self.kill()
                poll()
                time.sleep(_POLL_S)
                while self._wanted:
                    self.asked_to_stop = True
                    self._send(self._wanted.pop())
            except KeyboardInterrupt:
                if self.asked_to_stop:
                    raise
                self.asked_to_stop = True
                say("stopping; training first saves after this step (Ctrl-C again: stop at once)")
                self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End what still runs, and restore the signal handlers."""
        self._send(signal.SIGKILL)
        for process in self._processes:
            while not _has_ended(process):
                time.sleep(_POLL_S / 10)
        for number, handler in self._restore.items():
            signal.signal(number, handler)

    def _send(self, number: int) -> None:
        for process in self._processes:
            if not _has_ended(process):
                process.send_signal(number)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Say whether a worker has ended; then whatever it left behind (an engine) is ended, too."""
    gone = os.WEXITED | os.WNOHANG | os.WNOWAIT
    if process.returncode is None and os.waitid(os.P_PID, process.pid, gone) is not None:
        # It is not reaped yet, so no other process can have its number.
        end_session(process.pid)
    return process.poll() is not None


def _failure(job: Job, codes: list[int], workers: _Workers, handover: Path, log: Path) -> WmssError:
    first_failure = workers.first_failure
    # If workers share shards, the others were stopped, and only report that.
    found = read_error(handover, workers.first_failed if workers.share else None)
    if found is None or (first_failure < 0 and found["exit_code"] == CRASHED):
        # A rank that was killed reports nothing; the other ranks' errors only follow from its end.
        if -first_failure in _FORWARDED:
            # It was stopped before it could catch the signal, or it has nothing to save.
            how = f"stopped by {signal.Signals(-first_failure).name}"
            return InterruptedRunError(f"{job.stage}: {how}; the same command continues")
        if -first_failure == signal.SIGBUS:
            return StorageError(
                f"{job.out}: killed by SIGBUS: a file that {job.stage} had mapped could "
                "not be read or written; the disk of its inputs fails or is full, or they "
                f"were cut short meanwhile: check it, then repeat the command (see {log})"
            )
        how = f"exit code {max(codes)}"
        if first_failure < 0:
            how = f"killed by {signal.Signals(-first_failure).name}"
        return StageError(f"{job.stage}: its process ended without a message ({how}); see {log}")
    kind = _ERRORS.get(found["exit_code"], StageError)
    error = kind(found["message"])
    if found["exit_code"] == CRASHED:
        error = StageError(f"{job.stage}: {found['message']}; see {log}")
    error.__notes__ = [found["traceback"]]
    return error


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that a process sees here, for ``CUDA_VISIBLE_DEVICES``.

    They are counted without torch, which takes seconds to import.
    """
    asked = [sys.executable, "-I", "-S", "-c", _COUNT_GPUS]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    # If the driver crashes, there is no GPU; torch says what is wrong in the stage's log.
    count = 0 if done.returncode else int(done.stdout)
    return name_gpus(count, os.environ.get("CUDA_VISIBLE_DEVICES"))


def name_gpus(count: int, named: str | None) -> list[str]:
    """Return the names of that many GPUs, if ``CUDA_VISIBLE_DEVICES`` is `named`.

    The driver ignores all names after one that it does not know, so it took the first ones.
    """
    names = [str(index) for index in range(count)] if named is None else named.split(",")
    return names[:count]


def count_processes(job: Job, wanted: int | None, gpus: int) -> int:
    """Return how many processes work on a stage at the same time.

    Parameters
    ----------
    job : Job
        The stage as a whole, or a shard.
    wanted : int or None
        What the user asks for (``launch.processes``); None for one per GPU.
    gpus : int
        How many GPUs are visible.
    """
    stage = table.find(job.stage)
    usual = wanted or gpus or 1
    if stage.distributed:
        # No more than get a sample in each step; what the user asks for is checked there.
        batch = int(job.config.get("global_batch_size", usual))
        return wanted or min(usual, batch)
    if not table.has_shards(job.stage):
        return 1
    if stage.kind == "cpu":
        cores = len(os.sched_getaffinity(0))
        return max(1, min(usual, cores // int(job.config["workers"])))
    return min(usual, gpus) if gpus else usual
