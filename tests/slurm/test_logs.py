"""The log of a stage's job: the newest, of the shard that failed, to its end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, send_plan, small_plan

from wmss_cli.core.errors import ConfigError
from wmss_cli.slurm import logs
from wmss_cli.slurm.deaths import tail
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.logs import find_log, follow_log


@pytest.fixture
def ledger(tmp_path: Path, slurm: FakeSlurm) -> Ledger:
    """A run that was sent: jobs 1 (curate), 2 (shards), 3 (merge), 4 (curriculum)."""
    return as_sent(slurm, small_plan(tmp_path), tmp_path / "run")


def write(ledger: Ledger, slurm: FakeSlurm, stage: str, name: str, age: float = 0) -> Path:
    """Write a log of a job, that many seconds old."""
    log = ledger.folder / slurm.last(stage)["name"] / f"{name}_log.out"
    log.write_text(f"{name}\n")
    os.utime(log, (time.time() - age,) * 2)
    return log


def test_the_log_of_a_stage(ledger: Ledger, slurm: FakeSlurm) -> None:
    log = write(ledger, slurm, "curate", "1_0")
    assert find_log(ledger, "curate") == log


def test_each_rank_has_its_own(ledger: Ledger, slurm: FakeSlurm) -> None:
    first, second = (write(ledger, slurm, "curate", f"1_{rank}") for rank in (0, 1))
    assert find_log(ledger, "curate") == first
    assert find_log(ledger, "curate", rank=1) == second


def test_of_several_jobs_the_newest_counts(
    tmp_path: Path, ledger: Ledger, slurm: FakeSlurm
) -> None:
    write(ledger, slurm, "curate", "1_0", age=50)
    slurm.move("1", "FAILED")
    send_plan(small_plan(tmp_path), tmp_path)
    newest = write(ledger, slurm, "curate", f"{slurm.last('curate')['id']}_0")
    assert find_log(ledger, "curate") == newest


def test_a_shard_is_named_by_its_number_whatever_its_task(
    tmp_path: Path, ledger: Ledger, slurm: FakeSlurm
) -> None:
    for index in range(3):
        write(ledger, slurm, "score.0-2", f"2_{index}_0", age=50)
    assert find_log(ledger, "score", task=1).name == "2_1_0_log.out"
    finish(small_plan(tmp_path)[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", "RUNNING")
    slurm.move("2_1", "FAILED")
    slurm.move("2_2", "FAILED")
    send_plan(small_plan(tmp_path), tmp_path)
    again = slurm.last("score.0-2")["id"]
    write(ledger, slurm, "score.0-2", f"{again}_1_0")
    assert find_log(ledger, "score", task=2).name == f"{again}_1_0_log.out"


def test_of_an_array_the_failed_task_is_shown(ledger: Ledger, slurm: FakeSlurm) -> None:
    for index in range(3):
        write(ledger, slurm, "score.0-2", f"2_{index}_0", age=index)
    assert find_log(ledger, "score").name == "2_0_0_log.out", "the newest"
    slurm.move("2_1", "FAILED")
    slurm.move("2_0", "RUNNING")
    assert find_log(ledger, "score").name == "2_1_0_log.out"


def test_what_does_not_exist_says_what_to_do(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="joint: no such stage; this run has curate, score, curr"):
        find_log(ledger, "joint")
    with pytest.raises(ConfigError, match="curate: no log yet; 'wmss status' says what it waits"):
        find_log(ledger, "curate")


def test_the_end_of_a_log_is_read_however_long_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log.out"
    assert tail(log, 3) == []
    log.write_text("")
    assert tail(log, 3) == []
    log.write_bytes(b"x" * 5_000_000 + b"\na\n\n  b \n\xff\n")
    assert tail(log, 3) == ["a", "  b", "\ufffd"]
    assert tail(log, 50)[-2:] == ["  b", "\ufffd"]


def test_following_continues_until_the_job_has_ended(
    ledger: Ledger, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_LOOK_S", 0.02)
    monkeypatch.setattr(logs, "_ASK_S", 0.1)
    log = write(ledger, slurm, "curate", "1_0")
    slurm.move("1", "RUNNING")
    seen: list[str] = []
    follower = threading.Thread(target=lambda: seen.extend(follow_log(log)))
    follower.start()
    # A controller that is busy for a moment ends nothing.
    slurm.answer("squeue", stderr="slurm_load_jobs error: Socket timed out", code=1)
    before = len(slurm.calls("squeue"))
    while len(slurm.calls("squeue")) < before + 2 and follower.is_alive():
        time.sleep(0.02)
    assert follower.is_alive()
    slurm.answer_again("squeue")
    with log.open("a") as file:
        file.write("a line\nand half")
        file.flush()
        time.sleep(0.05)
        file.write(" of one\nthe end")
    slurm.move("1", "COMPLETED")
    follower.join(30)
    assert seen == ["a line", "and half of one", "the end"]
