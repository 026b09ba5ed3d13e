"""Every state of squeue(1) and of the page on job state codes, of Slurm 22.05 to 26.05."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, send_plan, small_plan

from wmss_cli.slurm.queue import STATES, has_ended, meaning
from wmss_cli.slurm.runs import active_jobs
from wmss_cli.slurm.status import run_status

# As the manual of 26.05 has them, by what they mean for a job that is looked at.
ENDED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT"),
)
WAITS = (
    *("CONFIGURING", "EXPEDITING", "LAUNCH_FAILED", "PENDING", "POWER_UP_NODE", "RECONFIG_FAIL"),
    *("REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"),
)
RUNS = (
    *("COMPLETING", "RESIZING", "REVOKED", "RUNNING", "SIGNALING", "STAGE_OUT", "STOPPED"),
    *("SUSPENDED", "UPDATE_DB"),
)
HELD = ("REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT")


def test_every_state_of_the_manual_is_in_the_table() -> None:
    assert sorted(STATES) == sorted((*ENDED, *WAITS, *RUNS))
    assert {name for name in STATES if has_ended(name)} == set(ENDED)
    assert {name for name, state in STATES.items() if state.fate == "waits"} == set(WAITS)
    # A job that ended says how; a held one says how it continues.
    assert all(STATES[name].words for name in ENDED)
    assert all("scontrol release" in STATES[name].words for name in HELD)


def test_who_cancelled_and_a_mark_are_not_part_of_a_state() -> None:
    assert has_ended("CANCELLED by 1000")
    assert has_ended("CANCELLED+")
    assert meaning("NOT_YET_KNOWN").words == "Slurm says NOT_YET_KNOWN, which is new"


@pytest.mark.parametrize("state", [*WAITS, *RUNS, "NOT_YET_KNOWN"])
def test_what_slurm_still_has_is_seen_by_cancel_and_never_sent_twice(
    tmp_path: Path, slurm: FakeSlurm, state: str
) -> None:
    steps = small_plan(tmp_path)
    ledger = as_sent(slurm, steps, tmp_path / "run")
    slurm.move("1", state, reason="None")
    send_plan(steps, tmp_path)
    assert len(slurm.jobs()) == 4
    assert ("curate", "1") in [(job.stage, job.job_id) for job in active_jobs(ledger, [])]
    stage = run_status(ledger).stages[0]
    assert stage.state == ("waiting" if state in WAITS else "running")
    assert stage.failure is None
    if state in HELD:
        assert "'scontrol release 1' lets it run again, 'wmss cancel' ends it" in stage.words


@pytest.mark.parametrize("state", ENDED)
def test_what_ended_is_sent_again(tmp_path: Path, slurm: FakeSlurm, state: str) -> None:
    steps = small_plan(tmp_path)
    ledger = as_sent(slurm, steps, tmp_path / "run")
    for job_id in ("1", "2", "3", "4"):
        slurm.move(job_id, state)
    assert run_status(ledger).is_over
    send_plan(steps, tmp_path)
    assert len(slurm.jobs()) == 8
