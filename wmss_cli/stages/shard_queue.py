"""Who does which shard: the workers of one stage on one machine take them from a folder.

An empty file represents a shard. A process takes it by renaming the file, which only one process
can do. The folder belongs to one attempt, and is removed with it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

QUEUE = "WMSS_QUEUE"
"""Name of the variable that tells the workers of a launcher where their queue will be."""

_POLL_S = 0.1


class ShardQueue:
    """The shards that are left to do, and their states.

    Parameters
    ----------
    folder : Path
        On a disk of this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._left = folder / "left"
        self._taken = folder / "taken"
        self._done = folder / "done"

    def fill(self, shards: Iterable[int]) -> None:
        """Let the workers begin; the first of them calls it, once."""
        aside = self._left.with_name("filling")
        for path in (aside, self._taken, self._done):
            path.mkdir(parents=True)
        for shard in shards:
            (aside / f"{shard:05d}").touch()
        aside.rename(self._left)

    def take(self) -> Iterator[int]:
        """Wait until there are shards, and take one after another until none is left.

        A shard counts as done when the next one is asked for.
        """
        while not self._left.is_dir():
            time.sleep(_POLL_S)
        for name in sorted(os.listdir(self._left)):  # noqa: PTH208
            try:
                (self._left / name).rename(self._taken / name)
            except FileNotFoundError:
                continue
            yield int(name)
            (self._taken / name).rename(self._done / name)

    def wait(self) -> None:
        """Wait until the others have finished what they took."""
        while any(self._taken.iterdir()):
            time.sleep(_POLL_S)

    def done(self) -> set[int]:
        """Return the shards that were done."""
        return {int(path.name) for path in self._done.iterdir()}


@contextmanager
def open_queue() -> Iterator[ShardQueue]:
    """Open the queue that this worker shares with others, or one of its own."""
    with tempfile.TemporaryDirectory(prefix="wmss-") as own:
        yield ShardQueue(Path(os.environ.get(QUEUE, own)))
