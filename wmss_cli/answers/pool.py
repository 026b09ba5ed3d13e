"""Check many answers in worker processes, with a time limit for each check that works.

A check can hang in native code (a power tower), use up all memory or kill its process. Then its
worker is replaced, that one answer counts as wrong (``timeout`` or ``crash``), and the stream
continues.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from pebble import ProcessPool

from wmss_cli.answers.graders import check_math
from wmss_cli.core.verdict import Reason, Verdict

K = TypeVar("K")

_CHUNK = 16
_CHUNKS_PER_WORKER = 3
_WORKER_ADDRESS_SPACE = 4 * 2**30
# Longer than Pebble takes to end a worker, by SIGTERM first and SIGKILL 3 s later.
_GRACE_S = 10.0


class Check(NamedTuple):
    """One answer to check: ``function(text, gold)`` runs in a worker.

    Attributes
    ----------
    function : callable
        A function at the top level of a module, so that it can be pickled.
    text : str
        The completion.
    gold : str
        The reference to compare its answer with.
    """

    function: Callable[[str, str], Verdict]
    text: str
    gold: str


def run_checks(
    items: Iterable[tuple[K, Check | None]], workers: int, timeout_s: float
) -> Generator[tuple[K, Verdict | None], None, None]:
    """Run checks of any kind.

    An item without a check passes through in its place, with None as its verdict, so that a
    caller keeps the order of a stream without storing it.

    Parameters
    ----------
    items : iterable of (key, Check or None)
        The key is returned with the verdict; it does not leave this process.
    workers : int
        Number of processes.
    timeout_s : float
        Time limit of one check, in seconds.

    Yields
    ------
    (key, Verdict or None)
        In the order of `items`, of which only a bounded number is in memory at any time.
    """
    context = multiprocessing.get_context("forkserver")
    # Replacement workers are then forked with math-verify loaded, instead of importing it again.
    context.set_forkserver_preload(["wmss_cli.answers.graders"])
    pool = ProcessPool(max_workers=workers, initializer=_start_worker, context=context)
    try:
        running: deque[_Chunk[K]] = deque()
        stream = iter(items)
        while part := list(islice(stream, _CHUNK)):
            running.append(_Chunk(pool, part, timeout_s))
            if len(running) > workers * _CHUNKS_PER_WORKER:
                yield from running.popleft().results()
        while running:
            yield from running.popleft().results()
    finally:
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


class _Chunk(Generic[K]):
    """A few items sent together: a message for each would cost more than its check."""

    def __init__(
        self, pool: ProcessPool, items: list[tuple[K, Check | None]], timeout_s: float
    ) -> None:
        self._pool = pool
        self._items = items
        self._timeout_s = timeout_s
        self._checks = [check for _, check in items if check is not None]
        self._future = self._schedule(self._checks) if self._checks else None

    def results(self) -> Iterator[tuple[K, Verdict | None]]:
        verdicts = iter(self._verdicts())
        for key, check in self._items:
            yield key, None if check is None else next(verdicts)

    def _verdicts(self) -> list[Verdict]:
        if self._future is None:
            return []
        verdicts = _outcome(self._future)
        if isinstance(verdicts, list):
            return verdicts
        if len(self._checks) == 1:
            return [Verdict(verdicts)]
        # One of them hung or crashed: alone, each has the whole time limit, and that one is found.
        alone = [_outcome(future) for future in [self._schedule([c]) for c in self._checks]]
        return [one[0] if isinstance(one, list) else Verdict(one) for one in alone]

    def _schedule(self, checks: list[Check]) -> Future[list[Verdict]]:
        future: Future[list[Verdict]] = self._pool.schedule(
            _run, args=(checks, self._timeout_s), timeout=self._timeout_s
        )
        return future


def _outcome(future: Future[list[Verdict]]) -> list[Verdict] | Reason:
    """Return the verdicts, or the reason why there are none."""
    try:
        return future.result()
    except FutureTimeoutError:
        return "timeout"
    except Exception:  # of any kind, so that one bad answer does not end the stream
        return "crash"


def _run(checks: list[Check], timeout_s: float) -> list[Verdict]:
    # If the pool's own process was killed, nothing else would end a check that hangs.
    signal.setitimer(signal.ITIMER_REAL, timeout_s + _GRACE_S)
    verdicts = [check.function(check.text, check.gold) for check in checks]
    signal.setitimer(signal.ITIMER_REAL, 0)
    return verdicts


def _start_worker() -> None:
    """Prepare a worker before its first check, so that this takes no time from any check."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _WORKER_ADDRESS_SPACE if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_AS, (min(limit, _WORKER_ADDRESS_SPACE), hard))
    check_math("\\boxed{\\frac{1}{2}}", "0.5")
