"""How far a stage in shards has come: what its shards report, added up while they work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from wmss_cli.core.artifact import Job, partial
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.progress import PROGRESS, Progress, add_up, read_progress, write_progress
from wmss_cli.stages.shard_queue import ShardQueue

_LOOK_EVERY_S = 0.25


class ShardCount:
    """The progress of a whole stage.

    Parameters
    ----------
    folder : Path
        Where the progress is written.
    unit : str
        What is counted; a finished shard has its count as a metric of this name.
    total : int or None
        Count over all shards.
    before : int
        Count in shards that were done before.
    left : mapping of int to Job
        The shards that are left to do, by number.
    queue : ShardQueue
        Tells which of them are done.
    """

    def __init__(
        self,
        folder: Path,
        unit: str,
        total: int | None,
        before: int,
        left: Mapping[int, Job],
        queue: ShardQueue,
    ) -> None:
        self._folder = folder
        self._total = total
        self._left = left
        self._queue = queue
        now = time.time()
        self._before = Progress(
            unit=unit,
            done=before,
            total=before,
            resumed_at=before,
            metrics={},
            started=now,
            updated=now,
        )
        self._parts: dict[int, Progress] = {}
        self._ended: set[int] = set()
        self._written: list[Progress] = []
        for job in left.values():
            # Left by an attempt that was killed.
            (partial(Path(job.out)) / PROGRESS).unlink(missing_ok=True)

    def write(self) -> None:
        """Write the sum if something has changed."""
        done = self._queue.done()
        for shard in self._left.keys() - self._ended:
            out = Path(self._left[shard].out)
            if shard in done:
                self._parts[shard] = self._whole(shard, out)
                self._ended.add(shard)
            elif (now := read_progress(partial(out))) is not None:
                self._parts[shard] = now
        parts = [self._before, *self._parts.values()]
        if parts != self._written:
            whole = {"total": self._total, "started": self._before.started}
            write_progress(self._folder, add_up(parts).model_copy(update=whole))
            self._written = parts

    def _whole(self, shard: int, out: Path) -> Progress:
        """Return the progress of a finished shard: its last file may be older than its end."""
        last = self._parts.get(shard) or self._before.model_copy(update={"resumed_at": 0})
        held = read_manifest(out).metrics[last.unit]
        ended = {"done": held, "total": held, "metrics": {}, "updated": time.time()}
        return last.model_copy(update=ended)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Write it again and again in a thread: this process may be busy with a shard itself."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(_LOOK_EVERY_S):
                # A lasting failure hits the shards, too, and they report it.
                with suppress(OSError):
                    self.write()

        self.write()
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        self.write()
