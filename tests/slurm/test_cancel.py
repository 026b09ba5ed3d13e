"""Cancel what waits and runs of a run, by one call, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, send_plan, small_plan

from wmss_cli.core.errors import ConfigError
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.runs import active_jobs, cancel


@pytest.fixture
def ledger(tmp_path: Path, slurm: FakeSlurm) -> Ledger:
    """A run whose curation is done, and another run beside it."""
    steps = small_plan(tmp_path)
    ledger = as_sent(slurm, steps, tmp_path / "run")
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    (tmp_path / "other").mkdir()
    as_sent(slurm, small_plan(tmp_path / "other"), tmp_path / "other" / "run")
    return ledger


def ids(ledger: Ledger, *stages: str) -> list[tuple[str, str]]:
    return [(job.stage, job.job_id) for job in active_jobs(ledger, stages)]


def test_jobs_that_wait_or_run_are_found_once_each(slurm: FakeSlurm, ledger: Ledger) -> None:
    slurm.move("2_0", "RUNNING")
    before = len(slurm.calls("squeue"))
    assert ids(ledger) == [("score", "2"), ("score", "3"), ("curriculum", "4")]
    assert len(slurm.calls("squeue")) == before + 1
    assert ids(ledger, "curriculum") == [("curriculum", "4")]
    assert ids(ledger, "curate") == []


def test_what_can_never_start_is_cancelled_too(slurm: FakeSlurm, ledger: Ledger) -> None:
    slurm.move("4", "PENDING", reason="DependencyNeverSatisfied")
    assert ("curriculum", "4") in ids(ledger)


def test_a_stage_that_does_not_exist_lists_those_that_are(ledger: Ledger) -> None:
    message = "joint: no such stage; this run has curate, score, curriculum"
    with pytest.raises(ConfigError, match=message):
        active_jobs(ledger, ["score", "joint"])


def test_one_call_cancels_all_and_nothing_of_other_runs(slurm: FakeSlurm, ledger: Ledger) -> None:
    cancel(ledger, active_jobs(ledger, []))
    # What waits for others first: else it would start, or end, for their sake.
    assert slurm.calls("scancel") == [["4", "3", "2"]]
    states = {job["id"]: set(slurm.states(job["id"])) for job in slurm.jobs()}
    assert states == {
        **{"1": {"COMPLETED"}, "2": {"CANCELLED"}, "3": {"CANCELLED"}, "4": {"CANCELLED"}},
        **{job_id: {"PENDING"} for job_id in ("5", "6", "7", "8")},
    }
    assert ids(ledger) == []
    cancelled = [entry.job_id for entry in ledger.entries() if entry.event == "cancelled"]
    assert cancelled == ["2", "3", "4"]


def test_a_cancelled_run_can_be_sent_again(
    tmp_path: Path, slurm: FakeSlurm, ledger: Ledger
) -> None:
    cancel(ledger, active_jobs(ledger, ["score"]))
    send_plan(small_plan(tmp_path), tmp_path)
    assert slurm.names()[8:] == ["score.0-2", "score.merge", "curriculum"]
    assert slurm.calls("scancel")[1:] == [["4"]], "it waited for a job that is no more"
