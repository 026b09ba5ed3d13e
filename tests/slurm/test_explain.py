"""Slurm's states and reasons as a person reads them, and the command that fixes a failure."""

from __future__ import annotations

import pytest

from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.slurm.deaths import Death
from wmss_cli.slurm.explain import End, ended, fix, waiting
from wmss_cli.slurm.profile import Resources
from wmss_cli.slurm.queue import has_ended


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("Priority", "waits: others come first"),
        ("Resources", "waits for free nodes"),
        ("Dependency", "waits for its input"),
        ("(Resources)", "waits for free nodes"),
        ("DependencyNeverSatisfied", "cannot start: an earlier stage failed"),
        ("BeginTime", "requeued, waits about two minutes"),
        ("JobArrayTaskLimit", "waits for tasks of its array"),
        ("PartitionTimeLimit", "cannot start: its time limit is above the partition's"),
        (
            "ReqNodeNotAvail, UnavailableNodes:n[1-2]",
            "waits for nodes that are down, drained or reserved: n[1-2]",
        ),
        (
            "ReqNodeNotAvail,May be reserved",
            "waits for nodes that are down, drained or reserved: May be reserved",
        ),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority "
            "partitions",
            "waits for nodes that are down, drained, or kept for jobs of higher priority",
        ),
        ("Something, that is new", "waits: Something, that is new"),
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
        ("FAILED", "0:9", "killed by SIGKILL (signal 9)"),
        ("FAILED", "0:0", "failed"),
        ("FAILED", "", "failed"),
    ],
)
def test_how_a_job_ended(state: str, exit_code: str, text: str) -> None:
    assert ended(state, exit_code) == text
    assert has_ended(state) or state == "UNKNOWN"


def test_a_job_that_is_held_says_what_lets_it_go() -> None:
    assert waiting("JobHeldUser", job_id="7") == "held; 'scontrol release 7' lets it run"
    held = waiting("job requeued in held state", "SPECIAL_EXIT", "7")
    again = "'scontrol release 7' lets it run again, 'wmss cancel' ends it"
    assert held == f"requeued and held (special exit); {again}"


ONE_HOUR = Resources(time_limit_min=60, mem_gb=8)
RETRY = "wmss retry my-run"
OF_MEMORY = Death("", of_memory=True, likely=True)
KILLED = Death("", of_memory=False, likely=True)
CRASHED = Death("", of_memory=False, likely=False)


@pytest.mark.parametrize(
    ("end", "resources", "command"),
    [
        (End("TIMEOUT"), ONE_HOUR, f"{RETRY} --slurm score.time_limit_min=120"),
        (End("OUT_OF_MEMORY", death=OF_MEMORY), ONE_HOUR, f"{RETRY} --slurm score.mem_gb=16"),
        (
            End("FAILED", death=KILLED, memory_gib=7.5, memory_asked_gib=8),
            ONE_HOUR,
            f"{RETRY} --slurm score.mem_gb=16  # it used 7.5 GiB, of 8.0 on a node",
        ),
        # What the partition gives is known by what Slurm gave.
        (
            End("FAILED", death=KILLED, memory_gib=1.2, memory_asked_gib=4),
            Resources(gpus_per_node=4, tasks_per_node=4),
            f"{RETRY} --slurm score.mem_gb=8  # it used 1.2 GiB a process, of 4.0 on a node",
        ),
        (
            End("OUT_OF_MEMORY", death=OF_MEMORY),
            Resources(),
            f"{RETRY} --slurm score.mem_gb=…  # more than the partition gives by default",
        ),
        # All of the node's memory cannot be doubled.
        (
            End("OUT_OF_MEMORY", death=OF_MEMORY),
            Resources(mem_gb=0),
            "it had all the memory of its node; use fewer processes per node, or more shards: "
            f"{RETRY}",
        ),
        (End("FAILED", death=CRASHED), ONE_HOUR, RETRY),
        (End("NODE_FAIL"), ONE_HOUR, RETRY),
        (End("FAILED", 5), ONE_HOUR, RETRY),
        (
            End("FAILED", InterruptedRunError.exit_code),
            ONE_HOUR,
            f"{RETRY} --slurm score.time_limit_min=120",
        ),
        (
            End("FAILED", ConfigError.exit_code),
            ONE_HOUR,
            f"fix what the message says, then: {RETRY}",
        ),
        (
            End("FAILED", IntegrityError.exit_code),
            ONE_HOUR,
            f"fix what the message says, then: {RETRY}",
        ),
        (
            End("FAILED", is_before_wmss=True),
            ONE_HOUR,
            f"fix setup or python of the profile (see the log), then: {RETRY} --profile FILE",
        ),
    ],
)
def test_what_fixes_it(end: End, resources: Resources, command: str) -> None:
    assert fix("my-run", end, "score", resources) == command


def test_training_that_was_stopped_continues() -> None:
    stopped = End("FAILED", InterruptedRunError.exit_code)
    assert fix("my-run", stopped, "train", ONE_HOUR) == RETRY


def test_a_name_with_spaces_is_quoted() -> None:
    assert fix("my run", End("FAILED", 5), "cpu", Resources()) == "wmss retry 'my run'"
