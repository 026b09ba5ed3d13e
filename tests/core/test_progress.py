"""Progress as a stage writes it and a display reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.progress import PROGRESS, Progress, ProgressWriter, read_progress


def progress(done: int, total: int | None, resumed_at: int = 0, seconds: float = 10) -> Progress:
    return Progress(
        unit="steps",
        done=done,
        total=total,
        resumed_at=resumed_at,
        metrics={},
        started=100.0,
        updated=100.0 + seconds,
    )


def test_before_a_stage_begins_there_is_none(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "nowhere") is None
    assert read_progress(tmp_path) is None


def test_what_a_stage_reports_can_be_read(tmp_path: Path) -> None:
    writer = ProgressWriter(tmp_path, "steps", total=5, done=2)
    begun = read_progress(tmp_path)
    assert begun is not None
    assert (begun.unit, begun.done, begun.total, begun.resumed_at) == ("steps", 2, 5, 2)
    writer.update(5, loss=1.5)
    ended = read_progress(tmp_path)
    assert ended is not None
    assert (ended.done, ended.metrics) == (5, {"loss": 1.5})
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS]


def test_it_is_written_a_few_times_a_second_but_the_end_always(tmp_path: Path) -> None:
    writer = ProgressWriter(tmp_path, "steps", total=1000)
    writer.update(1)
    assert read_progress(tmp_path).done == 0  # type: ignore[union-attr]
    writer.update(1000)
    assert read_progress(tmp_path).done == 1000  # type: ignore[union-attr]


@pytest.mark.parametrize("content", ["", '{"unit": "st', '{"unit": "steps"}'])
def test_a_file_that_does_not_fit_is_no_progress(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS).write_text(content)
    assert read_progress(tmp_path) is None


def test_time_left_is_at_the_pace_of_this_attempt() -> None:
    # 4 steps in 10 s, 2 to go: what an earlier attempt did does not count.
    assert progress(8, 10, resumed_at=4).seconds_left == pytest.approx(5.0)
    assert progress(10, 10).seconds_left == 0


@pytest.mark.parametrize("unknown", [progress(5, None), progress(0, 10), progress(4, 10, 4)])
def test_time_left_may_be_unknown(unknown: Progress) -> None:
    assert unknown.seconds_left is None


def test_a_stage_may_know_better_how_long_it_takes() -> None:
    told = progress(8, 10, resumed_at=4).model_copy(update={"metrics": {"seconds_left": 3.0}})
    assert told.seconds_left == 3.0
