"""Slurm's states and reasons as a person reads them, and the command that mends a failure."""

from __future__ import annotations

import pytest

from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.launch.profile import Resources
from wmss_cli.launch.states import ACTIVE
from wmss_cli.launch.words import ended, mend, waiting


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("Priority", "waits: others come first"),
        ("Resources", "waits for free nodes"),
        ("Dependency", "waits for its input"),
        ("(Resources)", "waits for free nodes"),
        ("DependencyNeverSatisfied", "cannot start: an earlier stage failed"),
        ("BeginTime", "requeued, waits some two minutes"),
        ("JobArrayTaskLimit", "waits for tasks of its array"),
        ("PartitionTimeLimit", "cannot start: its time limit is above the partition's"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
            "waits for a node that is down or reserved",
        ),
        ("ReqNodeNotAvail,May be reserved", "waits for a node that is down or reserved"),
        (
            "QOSMaxGRESPerUser",
            "waits for a limit of your account or QOS (QOSMaxGRESPerUser)",
        ),
        ("AssocGrpGRES", "waits for a limit of your account or QOS (AssocGrpGRES)"),
        ("MaxJobsPerAccount", "waits for a limit of your account or QOS (MaxJobsPerAccount)"),
        ("SomethingNew", "waits: SomethingNew"),
        ("", "waits"),
    ],
)
def test_why_a_job_waits(reason: str, text: str) -> None:
    assert waiting(reason) == text


@pytest.mark.parametrize(
    ("state", "exit_code", "text"),
    [
        ("TIMEOUT", "0:0", "reached its time limit"),
        ("OUT_OF_MEMORY", "0:125", "out of memory"),
        ("NODE_FAIL", "0:0", "its node failed"),
        ("PREEMPTED", "0:0", "preempted by a job of higher priority"),
        ("CANCELLED by 1000", "0:0", "cancelled"),
        ("COMPLETED", "0:0", "ended without a result"),
        ("UNKNOWN", "", "ended without a result"),
        ("FAILED", "3:0", "failed with exit code 3"),
        ("FAILED", "0:9", "killed by signal 9"),
        ("FAILED", "0:0", "failed"),
        ("FAILED", "", "failed"),
        ("SOMETHING_NEW", "", "something new"),
    ],
)
def test_how_a_job_ended(state: str, exit_code: str, text: str) -> None:
    assert ended(state, exit_code) == text
    assert state.split()[0] not in ACTIVE


ONE_HOUR = Resources(time_limit_min=60, mem_gb=8)


@pytest.mark.parametrize(
    ("state", "exit_code", "resources", "command"),
    [
        ("TIMEOUT", None, ONE_HOUR, "wmss retry my-run --slurm score.time_limit_min=120"),
        ("OUT_OF_MEMORY", None, ONE_HOUR, "wmss retry my-run --slurm score.mem_gb=16"),
        # All of the node's memory, or what the partition gives, cannot be doubled.
        ("OUT_OF_MEMORY", None, Resources(mem_gb=0), "wmss retry my-run"),
        ("OUT_OF_MEMORY", None, Resources(), "wmss retry my-run"),
        ("NODE_FAIL", None, ONE_HOUR, "wmss retry my-run"),
        ("FAILED", None, ONE_HOUR, "wmss retry my-run"),
        (
            *("FAILED", InterruptedRunError.exit_code, ONE_HOUR),
            "wmss retry my-run --slurm score.time_limit_min=120",
        ),
        (
            *("FAILED", ConfigError.exit_code, ONE_HOUR),
            "mend what the message says, then: wmss retry my-run",
        ),
        (
            *("FAILED", IntegrityError.exit_code, ONE_HOUR),
            "redo the stage that wrote it (--force), then: wmss retry my-run",
        ),
    ],
)
def test_the_command_that_mends_it(
    state: str, exit_code: int | None, resources: Resources, command: str
) -> None:
    assert mend("my-run", state, exit_code, "score", resources) == command


def test_training_that_was_stopped_goes_on() -> None:
    stopped = ("FAILED", InterruptedRunError.exit_code, "train", ONE_HOUR)
    assert mend("my-run", *stopped) == "wmss retry my-run"


def test_a_name_with_spaces_is_quoted() -> None:
    assert mend("my run", "FAILED", None, "cpu", Resources()) == "wmss retry 'my run'"
