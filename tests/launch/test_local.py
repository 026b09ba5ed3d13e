"""A stage in a process of its own: its result, its error, its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import record, right_records, write_records
from core.test_launcher_variables import LEFT
from filelock import FileLock
from launch.test_leftovers import gone
from table import make_token_table

from wmss_cli.core.artifact import Job, describe, open_draft, partial, redo
from wmss_cli.core.config import CurateConfig, CurriculumConfig, ScoreConfig, SftConfig
from wmss_cli.core.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    InterruptedRunError,
    StageError,
)
from wmss_cli.core.manifest import read_manifest, verify
from wmss_cli.core.progress import Progress
from wmss_cli.core.schema import ENTROPY, write_parquet
from wmss_cli.launch.local import log_path, run_local
from wmss_cli.stages import shards
from wmss_cli.stages.shards import shard_job

pytestmark = pytest.mark.slow


def curate_job(folder: Path, rows: list[dict[str, Any]] | Path, **options: Any) -> Job:
    config = CurateConfig(**options)
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


@pytest.fixture
def shared_job(tmp_path: Path, many_records: Path) -> Job:
    """The same, for two processes, which do four shards."""
    return curate_job(tmp_path, many_records, shards=4, workers=1, deduplicate="none")


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
    with pytest.raises(ConfigError, match="contains another artifact"):
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
    with pytest.raises(IntegrityError, match="contain different samples; score both") as caught:
        run_local(job)
    assert "\n" not in str(caught.value)
    # The traceback travels along for --debug, and is in the log.
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
    broken = Job(job.stage, job.config | {"verify_timeout_s": 0}, job.identity, job.inputs, job.out)
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
    started = f'sleep 300 >/dev/null 2>&1 & echo $! >"{tmp_path}/started"'
    python.write_text(f'#!/bin/sh\n{started}\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def kill() -> None:
        (pid,) = worker_pids()
        os.kill(pid, signal.SIGKILL)

    message = r"curate: its process ended without a message \(killed by SIGKILL\); see .*log"
    with pytest.raises(StageError, match=message):
        run_local(long_job, watch=when_working(kill))
    assert gone([int((tmp_path / "started").read_text())]), "nothing outlives the stage"
    assert not Path(long_job.out).exists()
    assert partial(Path(long_job.out)).is_dir()


def test_a_signal_to_the_launcher_reaches_the_workers(
    shared_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    # As on a machine where these two are free.
    monkeypatch.setattr("wmss_cli.launch.local.visible_gpus", lambda: ["4", "6"])
    shown: list[tuple[str, str]] = []

    def stop() -> None:
        for pid in worker_pids():
            lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
            found = dict(line.split("=", 1) for line in lines if line)
            shown.append((found["CUDA_VISIBLE_DEVICES"], found["LOCAL_RANK"]))
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match="stopped by SIGTERM; the same command continues"):
        run_local(shared_job, watch=when_working(stop))
    assert shown == [("4", "0"), ("6", "0")], "each worker sees one GPU, which is its first"
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


# Shards side by side.


def shards_done(job: Job) -> dict[str, int]:
    """Return the finished shards, and when each was written."""
    # A folder that is still partial has its manifest for a moment before its rename.
    found = Path(f"{job.out}.shards").glob("*-of-[0-9][0-9][0-9][0-9][0-9]/manifest.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [found for child in map(int, children) for found in (child, *descendants(child))]


def test_a_killed_worker_ends_the_others_and_what_is_done_stays_done(shared_job: Job) -> None:
    seen: list[int] = []
    at_work: list[int] = []
    done: dict[str, int] = {}

    def kill_one_when_a_shard_is_done(progress: Progress | None) -> None:
        if progress is not None:
            seen.append(progress.done)
        # More than one shard holds: those of both workers count together.
        if shards_done(shared_job) and max(seen, default=0) > 25_000 and not at_work:
            pids = worker_pids()
            assert len(pids) == 2, "both work at the same time"
            at_work.extend(found for pid in pids for found in (pid, *descendants(pid)))
            os.kill(pids[0], signal.SIGKILL)

    with pytest.raises(
        StageError, match=r"curate: its process ended without a message \(killed by"
    ):
        run_local(shared_job, 2, watch=kill_one_when_a_shard_is_done)
    assert [pid for pid in at_work if Path(f"/proc/{pid}/exe").exists()] == [], (
        "nothing outlives it"
    )
    assert seen == sorted(seen)
    assert at_work
    done = shards_done(shared_job)
    assert 1 <= len(done) < 4

    kept: dict[str, int] = {}

    def look(progress: Progress | None) -> None:
        kept.update(shards_done(shared_job))
        if progress is not None:
            assert progress.resumed_at == 25_000 * len(done)
            seen.append(progress.done)

    seen.clear()
    with pytest.raises(StageError, match="none of 100000 records kept"):
        run_local(shared_job, 2, watch=look)
    assert {shard: kept[shard] for shard in done} == done
    assert seen == sorted(seen)
    assert seen[0] >= 25_000 * len(done)
    assert len(shards_done(shared_job)) == 4


@pytest.mark.parametrize(
    ("hinder", "error", "message"),
    [
        # One says what to do; the other is a mistake of ours, which the end of the first worker
        # must not hide.
        ("lock", ConfigError, "00001-of-00002: another process is writing it; wait for it or end"),
        ("damage", StageError, r"curate: TypeError: .*; see .*logs/curated\.log"),
    ],
)
def test_the_error_of_one_shard_ends_the_others_and_reaches_the_caller(
    tmp_path: Path, many_records: Path, hinder: str, error: type[Exception], message: str
) -> None:
    job = curate_job(tmp_path, many_records, shards=2, workers=1)
    shard = Path(shard_job(job, 1).out)
    shard.parent.mkdir()
    lock = FileLock(shard.with_name(f".{shard.name}.lock"))
    if hinder == "lock":
        lock.acquire()
    else:
        partial(shard).mkdir()
        (partial(shard) / "fingerprint").write_text('{"attempt": "first"}')
    started = time.monotonic()
    with pytest.raises(error, match=message) as caught:
        run_local(job, 2)
    lock.release()
    assert "\n" not in str(caught.value)
    assert worker_pids() == []
    assert shards_done(job) == {}, "the other one was stopped before its end"
    assert time.monotonic() - started < 15, "and did not have to be killed"


def test_scores_of_two_processes_are_those_of_one_to_the_bit(
    tmp_path: Path, tiny_model: Path
) -> None:
    tokens = make_token_table(tmp_path / "tokens", tiny_model, [(5, 9), (1, 1), (12, 3), (30, 2)])
    inputs = {"model": str(tiny_model), "tokens": str(tokens)}
    config = ScoreConfig(shards=4)
    one, two = (
        Job(
            "score_entropy",
            config.model_dump(mode="json"),
            config.identity(),
            inputs,
            str(tmp_path / out),
        )
        for out in ("one", "two")
    )
    shards.run(one)
    outcome = run_local(two, 2)
    assert outcome.manifest.digest == read_manifest(Path(one.out)).digest
    assert verify(Path(two.out)) == outcome.manifest
    assert not Path(f"{two.out}.shards").exists()
    assert run_local(two, 1).was_done


def test_more_processes_than_shards_are_not_started(tmp_path: Path) -> None:
    said: list[str] = []
    started: list[int] = []
    job = curate_job(tmp_path, right_records(3), shards=1, workers=1)
    run_local(job, 2, watch=lambda _: started.append(len(worker_pids())), say=said.append)
    assert max(started) == 1
    assert said == [
        "curate: 2 processes, but shards: 1, so some do nothing; "
        "curate.shards=2 makes all again, for all of them"
    ]


def test_what_mpirun_torchrun_and_accelerate_left_in_the_shell_ends_no_training(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LEFT.items():
        monkeypatch.setenv(name, value)
    # A login node inside salloc.
    for name in ("SLURM_JOB_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"):
        monkeypatch.setenv(name, "7")
    tokens = make_token_table(tmp_path / "tokens", tiny_model, [(3, 4)] * 4)
    config = SftConfig(max_steps=1, global_batch_size=2, micro_batch_tokens=64, precision="fp32")
    inputs = {"strong": str(tiny_model), "tokens": str(tokens)}
    job = Job("sft", config.model_dump(mode="json"), config.identity(), inputs, str(tmp_path / "m"))
    assert run_local(job, processes=2).manifest.metrics["steps"] == 1
