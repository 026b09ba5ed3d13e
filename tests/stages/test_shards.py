"""Stages in shards: into how many they are cut, and how their progress adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wmss_cli.core.artifact import Job, describe, open_draft, partial, redo
from wmss_cli.core.config import Config
from wmss_cli.core.progress import Progress, ProgressWriter, read_progress
from wmss_cli.stages.shard_progress import ShardCount
from wmss_cli.stages.shard_queue import ShardQueue
from wmss_cli.stages.shards import cut, shard_job, shard_jobs


def make_job(out: Path, stage: str = "score_entropy", shards: int | None = None) -> Job:
    section = getattr(Config(), stage).model_copy(update={"shards": shards})
    return Job(stage, section.model_dump(mode="json"), section.identity(), {}, str(out))


def do(job: Job, shard: int, **metrics: Any) -> None:
    with open_draft(shard_job(job, shard)) as draft:
        draft.commit(metrics)


# How many.


@pytest.mark.parametrize(
    ("stage", "processes", "shards"),
    [
        ("score_entropy", 1, 1),
        ("score_entropy", 8, 32),
        ("eval", 8, 8),
        ("curate", 3, 3),
    ],
)
def test_where_nobody_says_how_many_each_process_gets_its_shards(
    tmp_path: Path, stage: str, processes: int, shards: int
) -> None:
    job = cut(make_job(tmp_path / "out", stage), processes)
    assert len(shard_jobs(job)) == shards
    assert describe(job) == describe(make_job(tmp_path / "out", stage)), "it is the same work"


def test_what_the_user_says_holds(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out", shards=5)
    do(cut(make_job(tmp_path / "out"), 1), 0)
    assert cut(job, 8) == job


def test_shards_that_are_done_decide_how_many_there_are(tmp_path: Path) -> None:
    before = cut(make_job(tmp_path / "out"), 2)
    do(before, 3)
    # On another machine.
    assert len(shard_jobs(cut(make_job(tmp_path / "out"), 8))) == 8
    redo({tmp_path / "out": describe(before)[0]})
    assert len(shard_jobs(cut(make_job(tmp_path / "out"), 8))) == 32, "they are made again anyway"


@pytest.mark.parametrize(("stage", "shards"), [("eval", 2), ("score_entropy", 32)])
def test_a_begun_shard_decides_it_only_where_it_is_gone_on_with(
    tmp_path: Path, stage: str, shards: int
) -> None:
    with open_draft(shard_job(make_job(tmp_path / "out", stage, shards=2), 1)):
        pass
    assert len(shard_jobs(cut(make_job(tmp_path / "out", stage), 8))) == shards


# Progress.


def test_the_shards_of_one_run_count_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wmss_cli.core.progress._WRITE_EVERY_S", 0.0)
    job = make_job(tmp_path / "out", "eval", shards=4)
    do(job, 0, answers=10)
    left = {shard: shard_job(job, shard) for shard in (1, 2, 3)}
    queue = ShardQueue(tmp_path / "queue")
    killed = partial(Path(left[3].out))
    killed.mkdir()
    ProgressWriter(killed, "answers", 10).update(9)
    folder = partial(Path(job.out))
    folder.mkdir()
    count = ShardCount(folder, "answers", 40, 10, left, queue)
    queue.fill(left)

    def seen() -> Progress:
        count.write()
        progress = read_progress(folder)
        assert progress is not None
        assert (progress.unit, progress.total) == ("answers", 40)
        return progress

    # What an earlier attempt said of a shard that no worker has begun now does not count.
    assert (seen().done, seen().resumed_at) == (10, 10)
    one, two = queue.take(), queue.take()
    assert (next(one), next(two)) == (1, 2)
    with open_draft(left[1]) as first, open_draft(left[2]) as second:
        # Four answers of the second were there.
        beats = [
            ProgressWriter(first.folder, "answers", 10),
            ProgressWriter(second.folder, "answers", 10, 4),
        ]
        assert (seen().done, seen().resumed_at) == (14, 14)
        beats[0].update(2, tokens_per_s=100.0)
        beats[1].update(7, tokens_per_s=50.0)
        working = seen()
        assert (working.done, working.resumed_at) == (19, 14)
        assert working.metrics == {"tokens_per_s": 150.0}
        # What is known is not written again: a display sees when the work is stuck.
        assert seen() == working
        second.commit({"answers": 10})
    # Between its end and the word of its worker its last progress counts.
    assert seen().done == 19
    assert next(two) == 3
    ended = seen()
    assert (ended.done, ended.resumed_at) == (22, 14)
    assert ended.metrics == {"tokens_per_s": 100.0}


def test_progress_is_written_while_the_worker_is_busy(tmp_path: Path) -> None:
    job = make_job(tmp_path / "out", shards=1)
    (folder := partial(Path(job.out))).mkdir()
    queue = ShardQueue(tmp_path / "queue")
    count = ShardCount(folder, "samples", 5, 0, {0: shard_job(job, 0)}, queue)
    queue.fill([0])
    with count.kept():
        for _ in queue.take():
            do(job, 0, samples=5)
    progress = read_progress(folder)
    assert progress is not None
    assert (progress.done, progress.total) == (5, 5), "the last word is said at the end"
