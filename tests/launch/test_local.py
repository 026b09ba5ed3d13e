"""A stage in a process of its own: its result, its error, its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import record, right_records, write_records
from launch.test_leftovers import gone

from wmss_cli.core.artifact import Job, describe, open_draft, partial, redo
from wmss_cli.core.config import CurateConfig, CurriculumConfig
from wmss_cli.core.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    InterruptedRunError,
    StageError,
)
from wmss_cli.core.manifest import verify
from wmss_cli.core.progress import Progress
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.launch.local import log_path, run_local

pytestmark = pytest.mark.slow


def curate_job(folder: Path, rows: list[dict[str, Any]] | Path) -> Job:
    config = CurateConfig()
    data = rows if isinstance(rows, Path) else write_records(folder / "data.jsonl", rows)
    inputs = {"data-0000": str(data)}
    dumped = config.model_dump(mode="json")
    return Job("curate", dumped, config.identity(), inputs, str(folder / "curated"))


@pytest.fixture(scope="module")
def many_records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [json.dumps(record("2 + 2?", "4", None))] * 100_000
    return write_records(tmp_path_factory.mktemp("many") / "data.jsonl", rows)


@pytest.fixture
def long_job(tmp_path: Path, many_records: Path) -> Job:
    """Takes some seconds: many records, all cheap to reject."""
    return curate_job(tmp_path, many_records)


def worker_pids() -> list[int]:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if b"wmss_cli.launch.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def when_working(act: Callable[[], None]) -> Callable[[Progress | None], None]:
    """Act once, as soon as the stage shows progress."""
    acted: list[bool] = []

    def watch(progress: Progress | None) -> None:
        if progress is not None and not acted:
            acted.append(True)
            act()

    return watch


def test_the_same_work_is_done_once(tmp_path: Path) -> None:
    job = curate_job(tmp_path, right_records(3))
    seen: list[Progress | None] = []
    first = run_local(job, watch=seen.append)
    assert not first.was_done
    assert first.manifest.metrics["kept"] == 3
    assert seen, "progress was looked at while it ran"
    # Without its log: what does nothing writes nothing.
    log_path(Path(job.out)).unlink()
    again = run_local(job)
    assert again.was_done
    assert again.manifest == first.manifest
    assert not log_path(Path(job.out)).exists()


# Force.


def test_force_makes_it_again_once(tmp_path: Path) -> None:
    job = curate_job(tmp_path, right_records(3))
    first = run_local(job).manifest
    again = run_local(job, force=True)
    assert not again.was_done
    assert again.manifest != first
    assert again.manifest.digest == first.digest
    assert run_local(job).was_done


def test_a_forced_stage_that_fails_leaves_the_old_result(tmp_path: Path) -> None:
    job = curate_job(tmp_path, right_records(3))
    old = run_local(job).manifest
    # Another artifact in its place, of data that cannot work.
    other = curate_job(tmp_path, [record("2 + 2?", "5", "4")])
    with pytest.raises(ConfigError, match="holds another artifact"):
        run_local(other)
    with pytest.raises(StageError, match="none of 1 records kept"):
        run_local(other, force=True)
    assert verify(Path(job.out)) == old
    curate_job(tmp_path, right_records(3))
    assert run_local(job).was_done, "nobody asked for this one again"


def test_a_forced_stage_that_is_interrupted_is_gone_on_with(tmp_path: Path) -> None:
    rejected = [record("2 + 2?", "4", None)] * 30_000
    job = curate_job(tmp_path, [*right_records(3), *rejected])
    old = run_local(job).manifest

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError):
        run_local(job, force=True, watch=when_working(interrupt))
    assert verify(Path(job.out)) == old
    again = run_local(job)
    assert not again.was_done
    assert again.manifest.started > old.started
    assert run_local(job).was_done


def test_all_that_is_forced_at_once_is_made_again_whatever_happens_in_between(
    tmp_path: Path,
) -> None:
    (tmp_path / "other").mkdir()
    jobs = [
        curate_job(tmp_path, right_records(3)),
        curate_job(tmp_path / "other", right_records(2)),
    ]
    for job in jobs:
        run_local(job)
    # As `wmss run --force` does before its first stage; then it dies.
    redo({Path(job.out): describe(job)[0] for job in jobs})
    assert [run_local(job).was_done for job in jobs] == [False, False]
    assert [run_local(job).was_done for job in jobs] == [True, True]


def test_nothing_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not in tmp_path, which may be too long for the socket of a process pool.
    with tempfile.TemporaryDirectory() as temporary:
        monkeypatch.setenv("TMPDIR", temporary)
        run_local(curate_job(tmp_path, right_records(3)))
        assert list(Path(temporary).iterdir()) == []


def test_a_workers_error_reaches_the_caller_as_its_type(tmp_path: Path) -> None:
    inputs = {}
    for role, ids in (("weak", "ab"), ("strong", "ac")):
        inputs[role] = str(tmp_path / role)
        with open_draft(Job("score_entropy", {}, {"ids": ids}, {}, inputs[role])) as draft:
            rows = [{"example_id": i, "entropy": 1.0, "completion_tokens": 1} for i in ids]
            write_parquet(draft.folder / "entropy.parquet", rows, ENTROPY)
            draft.commit({"dtype": "torch.float32"})
    config = CurriculumConfig()
    dumped = config.model_dump(mode="json")
    job = Job("build_curriculum", dumped, config.identity(), inputs, str(tmp_path / "curriculum"))
    with pytest.raises(IntegrityError, match="hold different samples; score both") as caught:
        run_local(job)
    assert "\n" not in str(caught.value)
    # The traceback travels along for --debug, and stands in the log.
    assert "Traceback" in caught.value.__notes__[0]
    assert "IntegrityError" in log_path(Path(job.out)).read_text()


def test_an_error_in_the_data_is_the_stages_own_line(tmp_path: Path) -> None:
    job = curate_job(tmp_path, [record("2 + 2?", "5", "4")])
    with pytest.raises(StageError, match=r"none of 1 records kept \(1 wrong_answer\)") as caught:
        run_local(job)
    assert caught.value.exit_code == DataError.exit_code
    assert "\n" not in str(caught.value)


def test_a_mistake_of_ours_names_the_log(tmp_path: Path) -> None:
    job = curate_job(tmp_path, right_records(1))
    # What no configuration lets through: the worker meets a pydantic error, not one of wmss.
    broken = Job(job.stage, job.config | {"workers": 0}, job.identity, job.inputs, job.out)
    message = r"curate: ValidationError: 1 validation error.*; see .*logs/curated\.log"
    with pytest.raises(StageError, match=message) as caught:
        run_local(broken)
    assert "\n" not in str(caught.value)
    assert "Traceback" in log_path(Path(job.out)).read_text()


def test_a_worker_that_is_killed_names_the_log(
    long_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker with a process of its own, as of an engine.
    python = tmp_path / "python"
    started = f'sleep 300 & echo $! >"{tmp_path}/started"'
    python.write_text(f'#!/bin/sh\n{started}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def kill() -> None:
        (pid,) = worker_pids()
        os.kill(pid, signal.SIGKILL)

    message = r"curate: its process ended without a word \(killed by SIGKILL\); see .*curated\.log"
    with pytest.raises(StageError, match=message):
        run_local(long_job, watch=when_working(kill))
    assert gone([int((tmp_path / "started").read_text())]), "nothing outlives the stage"
    assert not Path(long_job.out).exists()
    assert partial(Path(long_job.out)).is_dir()


def test_a_signal_to_the_launcher_reaches_the_workers(long_job: Job) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM; the same command continues"):
        run_local(long_job, watch=when_working(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert worker_pids() == []
    assert signal.getsignal(signal.SIGTERM) == before, "the signal is given back"


def test_a_signal_before_the_stage_has_begun_is_an_interruption_too(long_job: Job) -> None:
    told = False

    def at_once(_: Progress | None) -> None:
        nonlocal told
        if not told:
            told = True
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM; the same command continues"):
        run_local(long_job, watch=at_once)
    assert worker_pids() == []


def test_ctrl_c_asks_the_workers_to_stop(long_job: Job) -> None:
    said: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM"):
        run_local(long_job, watch=when_working(interrupt), say=said.append)
    assert len(said) == 1
    assert "Ctrl-C again" in said[0]
