"""How a job that was told to stop continues: requeued by its first rank, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, small_plan

from wmss_cli.core.errors import HangError, InterruptedRunError
from wmss_cli.slurm import task
from wmss_cli.slurm.task import after_hang, after_interrupt, job_id

STOPPED = InterruptedRunError.exit_code


@pytest.fixture
def job(tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Be the first rank of job 1, which runs."""
    as_sent(slurm, small_plan(tmp_path), tmp_path / "run")
    slurm.move("1", "RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("RANK", "0")
    return slurm


def requeued(slurm: FakeSlurm) -> list[str]:
    return [call[1] for call in slurm.calls("scontrol") if call[0] == "requeue"]


def test_the_first_rank_requeues_the_job(
    job: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert after_interrupt("scontrol", 20, resumes=True) == 0
    assert requeued(job) == ["1"]
    assert job.states("1") == ["PENDING"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "wmss: requeued, to continue (1 of at most 20 times)\n"


def test_other_ranks_end_well_and_do_nothing(
    job: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(job.calls("scontrol"))
    monkeypatch.setenv("RANK", "1")
    for mode in ("scontrol", "chain"):
        assert after_interrupt(mode, 20, resumes=True) == 0
    assert len(job.calls("scontrol")) == before


def test_a_task_of_an_array_requeues_itself_alone(
    tmp_path: Path, job: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(small_plan(tmp_path)[0].job)
    job.move("2", "RUNNING")
    # Slurm gives each task an id of its own, which its commands do not show.
    for name, value in (("JOB_ID", "9"), ("ARRAY_JOB_ID", "2"), ("ARRAY_TASK_ID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert job_id() == "2_1"
    assert after_interrupt("scontrol", 20, resumes=True) == 0
    assert requeued(job) == ["2_1"]
    assert job.states("2") == ["RUNNING", "PENDING", "RUNNING"]


def test_it_is_requeued_only_so_often(
    job: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    job.move("1", "RUNNING", restarts=2)
    assert after_interrupt("scontrol", 2, resumes=True) == STOPPED
    assert requeued(job) == []
    assert "requeued 2 times, max_requeues allows no more" in capsys.readouterr().err
    assert after_interrupt("scontrol", 3, resumes=True) == 0
    assert requeued(job) == ["1"]
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    job.move("1", "RUNNING", restarts=0)
    assert after_interrupt("scontrol", 0, resumes=True) == STOPPED


@pytest.mark.parametrize("state", ["CANCELLED", "COMPLETING", "PREEMPTED"])
def test_what_does_not_run_any_more_is_not_requeued(
    job: FakeSlurm, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.move("1", state)
    assert after_interrupt("scontrol", 20, resumes=True) == STOPPED
    assert requeued(job) == []
    assert f"stopped; it is not requeued: Slurm says {state}" in capsys.readouterr().err


def test_what_slurm_requeues_itself_is_left_to_it(job: FakeSlurm) -> None:
    job.move("1", "RUNNING", restarts=1)
    assert after_interrupt("scontrol", 20, resumes=True) == STOPPED
    assert requeued(job) == []


def test_what_reached_its_limit_is_requeued_however_late(job: FakeSlurm) -> None:
    job.move("1", "COMPLETING", reason="TimeLimit")
    assert after_interrupt("scontrol", 20, resumes=True) == 0
    assert requeued(job) == ["1"]


def test_a_stage_that_would_start_over_is_requeued_only_when_it_is_preempted(
    job: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    assert after_interrupt("scontrol", 20, resumes=False) == STOPPED
    assert "did not fit its time limit, and would start again" in capsys.readouterr().err
    assert requeued(job) == []
    job.move("1", "RUNNING", preempted="2026-11-24T10:00:00")
    assert after_interrupt("scontrol", 20, resumes=False) == 0
    assert requeued(job) == ["1"]


def test_where_scontrol_is_missing_it_says_what_to_do(
    job: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    (job.bin / "scontrol").unlink()
    # Nor may another one be found behind it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(job.bin))
        assert after_interrupt("scontrol", 20, resumes=True) == STOPPED
    said = capsys.readouterr().err
    assert said.startswith("wmss: cannot requeue: scontrol: not found")
    assert said.endswith("; set requeue: chain in the profile, then wmss retry\n")


def test_where_slurm_refuses_it_says_so(job: FakeSlurm, capsys: pytest.CaptureFixture[str]) -> None:
    job.answer("scontrol", stderr="Requested operation is presently disabled for job 1", code=1)
    assert after_interrupt("scontrol", 20, resumes=True) == STOPPED
    assert "cannot requeue: scontrol: Requested operation" in capsys.readouterr().err


def test_in_a_chain_the_successor_continues(
    job: FakeSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(job.calls("scontrol"))
    assert after_interrupt("chain", 20, resumes=True) == STOPPED
    assert len(job.calls("scontrol")) == before
    assert capsys.readouterr().err == "wmss: stopped; the next job of the chain continues\n"


@pytest.mark.parametrize(
    ("behind", "requeues"), [((0,), 1), ((2, 3), 0), ((0, 1, 2), 3), ((0, 1, 2, 3), 0)]
)
def test_after_a_hang_the_first_rank_that_does_not_hang_requeues_the_job(
    job: FakeSlurm, monkeypatch: pytest.MonkeyPatch, behind: tuple[int, ...], requeues: int
) -> None:
    monkeypatch.setattr(task, "_REQUEUE_S", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("RANK", str(rank))
        expected = 0 if rank == requeues else HangError.exit_code
        assert after_hang("scontrol", 20, behind) == expected
    assert requeued(job) == ["1"]


def test_hangs_count_as_requeues_do(
    job: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert after_hang("scontrol", 20, [1]) == 0
    assert "wmss: requeued after a hang (1 of at most 20 times)" in capsys.readouterr().err
    monkeypatch.setenv("SLURM_RESTART_COUNT", "20")
    job.move("1", "RUNNING", restarts=20)
    assert after_hang("scontrol", 20, [1]) == HangError.exit_code
    assert requeued(job) == ["1"]
    # Its successor is waiting for an end, good or bad.
    assert after_hang("chain", 20, [1]) == HangError.exit_code
