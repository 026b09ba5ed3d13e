"""Slurm's states and reasons in plain words, and the command that mends a failure."""

from __future__ import annotations

import shlex

from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.launch.profile import Resources
from wmss_cli.launch.states import NEVER
from wmss_cli.stages.table import Kind

_REASONS = {
    "Priority": "waits: others come first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for its input",
    NEVER: "cannot start: an earlier stage failed",
    "BeginTime": "requeued, waits some two minutes",
    "JobHeldUser": "held; scontrol release lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "waits for tasks of its array",
    "PartitionTimeLimit": "cannot start: its time limit is above the partition's",
    "PartitionNodeLimit": "cannot start: more nodes than the partition allows",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is inactive",
    "ReqNodeNotAvail": "waits for a node that is down or reserved",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
}
_LIMITS = ("QOS", "Assoc", "MaxCpu", "MaxNode", "MaxTRES", "MaxJobs", "MaxSubmit")
_STATES = {
    "BOOT_FAIL": "its node did not boot",
    "CANCELLED": "cancelled",
    "COMPLETED": "ended without a result",
    "DEADLINE": "its deadline passed",
    "FAILED": "failed",
    "NODE_FAIL": "its node failed",
    "OUT_OF_MEMORY": "out of memory",
    "PREEMPTED": "preempted by a job of higher priority",
    "REVOKED": "revoked",
    "TIMEOUT": "reached its time limit",
    "UNKNOWN": "ended without a result",
}


def waiting(reason: str) -> str:
    """Say why a job waits.

    Parameters
    ----------
    reason : str
        As squeue gives it.
    """
    name = reason.split(",")[0].strip("()")
    if name in _REASONS:
        return _REASONS[name]
    if name.startswith(_LIMITS):
        return f"waits for a limit of your account or QOS ({name})"
    return f"waits: {name}" if name else "waits"


def ended(state: str, exit_code: str = "") -> str:
    """Say how a job ended that left no result."""
    base = state.split(" ")[0]
    text = _STATES.get(base, base.lower().replace("_", " "))
    code, _, number = exit_code.partition(":")
    if base == "FAILED" and number not in ("", "0"):
        return f"killed by signal {number}"
    if base == "FAILED" and code not in ("", "0"):
        return f"failed with exit code {code}"
    return text


def mend(run: str, state: str, exit_code: int | None, kind: Kind, resources: Resources) -> str:
    """Return the command that mends a failure.

    Parameters
    ----------
    run : str
        Name of the run.
    state : str
        How Slurm says that the job ended.
    exit_code : int or None
        What the stage itself reported.
    kind, resources
        What the job had.
    """
    retry = f"wmss retry {shlex.quote(run)}"
    # Training goes on where it stopped; what begins anew has to fit.
    stopped = exit_code == InterruptedRunError.exit_code and kind != "train"
    if state == "TIMEOUT" or stopped:
        return f"{retry} --slurm {kind}.time_limit_min={2 * resources.time_limit_min}"
    if state == "OUT_OF_MEMORY" and resources.mem_gb:
        return f"{retry} --slurm {kind}.mem_gb={2 * resources.mem_gb}"
    if exit_code == ConfigError.exit_code:
        return f"mend what the message says, then: {retry}"
    if exit_code == IntegrityError.exit_code:
        return f"redo the stage that wrote it (--force), then: {retry}"
    return retry
