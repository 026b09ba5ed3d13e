"""The queue of shards: each is done by one worker, and the first waits for all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from wmss_cli.stages.shard_queue import QUEUE, ShardQueue, open_queue

_TAKE = """
import sys
from pathlib import Path
from wmss_cli.stages.shard_queue import ShardQueue
print(*ShardQueue(Path(sys.argv[1])).take())
"""


def test_each_shard_is_taken_by_one_worker(tmp_path: Path) -> None:
    queue = ShardQueue(tmp_path / "queue")
    command = [sys.executable, "-c", _TAKE, str(tmp_path / "queue")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    # They wait for the first worker, which comes last here.
    time.sleep(0.3)
    assert [worker.poll() for worker in workers] == [None] * 3
    queue.fill(range(500))
    taken = [int(shard) for worker in workers for shard in worker.communicate()[0].split()]
    assert sorted(taken) == list(range(500))
    assert queue.done() == set(range(500))
    queue.wait()


def test_a_shard_is_done_when_its_worker_asks_for_the_next(tmp_path: Path) -> None:
    queue = ShardQueue(tmp_path)
    queue.fill([2, 5])
    taking = queue.take()
    assert next(taking) == 2
    assert queue.done() == set()
    assert next(taking) == 5
    assert queue.done() == {2}
    # Another worker that comes now finds nothing left.
    assert list(queue.take()) == []
    assert next(taking, None) is None
    assert queue.done() == {2, 5}


def test_a_worker_without_a_launcher_has_a_queue_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(QUEUE, raising=False)
    for _ in range(2):
        with open_queue() as queue:
            queue.fill([0])
            assert list(queue.take()) == [0]
    monkeypatch.setenv(QUEUE, str(tmp_path / "shared"))
    with open_queue() as queue:
        queue.fill([7])
    with open_queue() as queue:
        assert list(queue.take()) == [7]
