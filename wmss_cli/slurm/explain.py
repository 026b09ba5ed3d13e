"""Slurm's states and reasons in plain words, and the command that fixes a failure."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass

from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.slurm.deaths import Death, signal_name
from wmss_cli.slurm.profile import Resources
from wmss_cli.slurm.queue import NEVER, meaning
from wmss_cli.stages.table import Kind

_REASONS = {
    "Priority": "waits: others come first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for its input",
    NEVER: "cannot start: an earlier stage failed",
    "BeginTime": "requeued, waits about two minutes",
    "JobHeldUser": "held; 'scontrol release {job}' lets it run",
    "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "waits for tasks of its array",
    "PartitionTimeLimit": "cannot start: its time limit is above the partition's",
    "PartitionNodeLimit": "cannot start: more nodes than the partition allows",
    "PartitionDown": "waits: the partition is down",
    "PartitionInactive": "waits: the partition is inactive",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "BadConstraints": "cannot start: no node has what its constraint asks for",
    "InvalidAccount": "cannot start: its account is no longer valid",
    "InvalidQOS": "cannot start: its QOS is no longer valid",
    "JobHoldMaxRequeue": "held, requeued too often; 'scontrol release {job}' lets it run",
    "Cleaning": "requeued, its nodes are being cleaned up",
    "Prolog": "waits for the cluster's prolog",
    "WaitingForScheduling": "waits to be scheduled",
}
_LIMITS = ("QOS", "Assoc", "MaxCpu", "MaxNode", "MaxTRES", "MaxJobs", "MaxSubmit")
_NODES = "Nodes required for job are "


@dataclass(frozen=True)
class End:
    """How a job without a result ended.

    Attributes
    ----------
    state : str
        Slurm's word for it.
    exit_code : int or None
        Exit code that the stage itself reported.
    death : Death or None
        What killed it, if it reported no error.
    memory_gib, memory_asked_gib : float
        Most that a process used, and what the job had on a node; 0 if unknown.
    is_before_wmss : bool
        Whether it ended in the script, before wmss began.
    """

    state: str
    exit_code: int | None = None
    death: Death | None = None
    memory_gib: float = 0.0
    memory_asked_gib: float = 0.0
    is_before_wmss: bool = False


def waiting(reason: str, state: str = "PENDING", job_id: str = "") -> str:
    """Say why a job waits.

    Parameters
    ----------
    reason, state : str
        As squeue prints them.
    job_id : str
        For a command that releases it.
    """
    if state != "PENDING":
        return meaning(state).words.format(job=job_id)
    name, _, more = reason.strip("()").partition(",")
    if name.startswith(_NODES):
        return "waits for nodes that are down, drained, or kept for jobs of higher priority"
    if name == "ReqNodeNotAvail":
        nodes = more.strip().removeprefix("UnavailableNodes:")
        return "waits for nodes that are down, drained or reserved" + (
            f": {nodes}" if nodes else ""
        )
    if name in _REASONS:
        return _REASONS[name].format(job=job_id)
    if name.startswith(_LIMITS):
        return f"waits for a limit of your account or QOS ({name})"
    return f"waits: {reason.strip('()')}" if name else "waits"


def ended(state: str, exit_code: str = "") -> str:
    """Say how a job without a result ended."""
    code, _, number = exit_code.partition(":")
    if state.split(" ")[0] == "FAILED":
        if number not in ("", "0"):
            return f"killed by {signal_name(int(number))} (signal {number})"
        if code not in ("", "0"):
            return f"failed with exit code {code}"
    known = meaning(state)
    # A new state, or none: squeue has forgotten the job, and sacct does not know it.
    return known.words if known.fate == "ended" else "ended without a result"


def fix(run: str, end: End, kind: Kind, resources: Resources) -> str:
    """Return the command that fixes a failure, or what to change before it.

    Parameters
    ----------
    run : str
        Name of the run.
    end : End
        How it ended.
    kind, resources
        Section of the profile, and the resources that the job had.
    """
    retry = f"wmss retry {shlex.quote(run)}"
    # Training continues where it stopped; what starts again has to fit.
    stopped = end.exit_code == InterruptedRunError.exit_code and kind != "train"
    if end.state == "TIMEOUT" or stopped:
        return f"{retry} --slurm {kind}.time_limit_min={2 * resources.time_limit_min}"
    if end.death is not None and end.death.likely:
        return _more_memory(retry, end, kind, resources)
    if end.exit_code in (ConfigError.exit_code, IntegrityError.exit_code):
        return f"fix what the message says, then: {retry}"
    if end.is_before_wmss:
        return f"fix setup or python of the profile (see the log), then: {retry} --profile FILE"
    return retry


def _more_memory(retry: str, end: End, kind: Kind, resources: Resources) -> str:
    """Say how much memory a job used and had, and how to give it more."""
    used, had = end.memory_gib, end.memory_asked_gib
    each = " a process" if resources.tasks_per_node > 1 else ""
    # This is a comment, so that the line can be pasted as it is.
    text = f"  # it used {used:.1f} GiB{each}, of {had:.1f} on a node" if used and had else ""
    if resources.mem_gb == 0:
        less = "or a higher zero_stage" if kind == "train" else "or more shards"
        return f"it had all the memory of its node; use fewer processes per node, {less}: {retry}"
    # More than it used, if Slurm measured that.
    more = max(
        2 * (resources.mem_gb or math.ceil(had)), math.ceil(1.5 * used * resources.tasks_per_node)
    )
    if not more:
        return f"{retry} --slurm {kind}.mem_gb=…  # more than the partition gives by default"
    return f"{retry} --slurm {kind}.mem_gb={more}{text}"
