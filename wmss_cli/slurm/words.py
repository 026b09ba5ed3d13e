"""Slurm's states and reasons in plain words, and the command that mends a failure."""

from __future__ import annotations

import math
import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.errors import ConfigError, IntegrityError, InterruptedRunError
from wmss_cli.slurm.profile import Resources
from wmss_cli.slurm.queue import NEVER, Usage, meaning
from wmss_cli.stages.table import Kind

_REASONS = {
    "Priority": "waits: others come first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for its input",
    NEVER: "cannot start: an earlier stage failed",
    "BeginTime": "requeued, waits some two minutes",
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
    "InvalidAccount": "cannot start: its account is not valid any more",
    "InvalidQOS": "cannot start: its QOS is not valid any more",
    "JobHoldMaxRequeue": "held, requeued too often; 'scontrol release {job}' lets it run",
    "Cleaning": "requeued, its nodes are being cleaned up",
    "Prolog": "waits for the cluster's prolog",
    "WaitingForScheduling": "waits to be looked at",
}
_LIMITS = ("QOS", "Assoc", "MaxCpu", "MaxNode", "MaxTRES", "MaxJobs", "MaxSubmit")
_NODES = "Nodes required for job are "


@dataclass(frozen=True)
class End:
    """How a job ended that left no result.

    Attributes
    ----------
    state : str
        In Slurm's word.
    exit_code : int or None
        What the stage itself reported.
    death : Death or None
        What killed it, where it left no report.
    memory_gib, memory_asked_gib : float
        Most that a process used, and what the job had on a node; 0 where it is not known.
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
        As squeue gives them.
    job_id : str
        For a command that lets it go.
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
    """Say how a job ended that left no result."""
    code, _, number = exit_code.partition(":")
    if state.split(" ")[0] == "FAILED":
        if number not in ("", "0"):
            return f"killed by {signal_name(int(number))} (signal {number})"
        if code not in ("", "0"):
            return f"failed with exit code {code}"
    known = meaning(state)
    # A state that is new, or none: squeue has forgotten the job, and sacct does not know of it.
    return known.words if known.fate == "ended" else "ended without a result"


def mend(run: str, end: End, kind: Kind, resources: Resources) -> str:
    """Return the command that mends a failure, or what to change before it.

    Parameters
    ----------
    run : str
        Name of the run.
    end : End
        How the job ended.
    kind, resources
        What the job had.
    """
    retry = f"wmss retry {shlex.quote(run)}"
    # Training goes on where it stopped; what begins anew has to fit.
    stopped = end.exit_code == InterruptedRunError.exit_code and kind != "train"
    if end.state == "TIMEOUT" or stopped:
        return f"{retry} --slurm {kind}.time_limit_min={2 * resources.time_limit_min}"
    if end.death is not None and end.death.likely:
        return _more_memory(retry, end, kind, resources)
    if end.exit_code in (ConfigError.exit_code, IntegrityError.exit_code):
        return f"mend what the message says, then: {retry}"
    if end.is_before_wmss:
        return f"mend setup or python of the profile (see the log), then: {retry} --profile FILE"
    return retry


def _more_memory(retry: str, end: End, kind: Kind, resources: Resources) -> str:
    """Say how much a job used and had, and what gives it more."""
    used, had = end.memory_gib, end.memory_asked_gib
    each = " a process" if resources.tasks_per_node > 1 else ""
    # As a comment, so that the line can be pasted as it is.
    text = f"  # it used {used:.1f} GiB{each}, of {had:.1f} on a node" if used and had else ""
    if resources.mem_gb == 0:
        less = "or a higher zero_stage" if kind == "train" else "or more shards"
        return f"it had all memory of its node; take fewer processes on a node, {less}: {retry}"
    # More than it used, where Slurm saw that.
    more = max(
        2 * (resources.mem_gb or math.ceil(had)), math.ceil(1.5 * used * resources.tasks_per_node)
    )
    if not more:
        return f"{retry} --slurm {kind}.mem_gb=…  # more than the partition gives by default"
    return f"{retry} --slurm {kind}.mem_gb={more}{text}"


_LINES = 200
# What slurmstepd and srun write: OverMemoryKill, the kernel's cgroup, and the task's own end.
_MEMORY = re.compile(
    r"exceeded (job |step |virtual )?memory limit|oom[_-]kill|OOM Killed|OverMemoryKill"
    r"|task \d+: Out Of Memory",
    re.IGNORECASE,
)
_TASK = re.compile(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)")
_NAMES = {
    "Killed": signal.SIGKILL,
    "Out Of Memory": signal.SIGKILL,
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Aborted": signal.SIGABRT,
    "Illegal instruction": signal.SIGILL,
    "Floating point exception": signal.SIGFPE,
}
_BY_SLURM = ("TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "CANCELLED")
"""Here Slurm itself ends the processes, by signals that say nothing."""
# srun ends with the signal's number, a shell with 128 more. 1 to 6 can be a program's own code.
_BY_CODE = {number: number for number in (6, 7, 8, 9, 11, 15)} | {128 + n: n for n in range(1, 32)}


@dataclass(frozen=True)
class Death:
    """How the processes of a job were killed.

    Attributes
    ----------
    words : str
        In plain words: the signal, and which process on which node, where that is known.
    of_memory : bool
        Whether it was for their memory.
    likely : bool
        Whether it was most likely for that, though nothing says so.
    """

    words: str
    of_memory: bool
    likely: bool


def death(state: str, usage: Usage | None, log: Path) -> Death | None:
    """Return how a job without a report of its own was killed; None where nothing says so.

    Parameters
    ----------
    state : str
        How Slurm says that it ended.
    usage : Usage or None
        By sacct.
    log : Path
        Of the first process, where srun writes too.
    """
    if state in _BY_SLURM:
        return None
    lines = tail(log, _LINES)
    of_memory = state == "OUT_OF_MEMORY" or any(_MEMORY.search(line) for line in lines)
    of_memory = of_memory or (usage is not None and usage.out_of_memory)
    number, where = _first_killed(lines)
    if not number and usage is not None:
        number = usage.signal or _by_exit_code(usage.exit_code)
    if not (number or of_memory):
        return None
    name = f"{signal_name(number)} (signal {number})" if number else ""
    if of_memory:
        return Death(f"out of memory{where}", of_memory=True, likely=True)
    return Death(f"killed by {name}{where}", False, likely=number == signal.SIGKILL)


def _first_killed(lines: list[str]) -> tuple[int, str]:
    """Return the signal of the process that ended first, and which one it was; else 0."""
    for line in lines:
        found = _TASK.search(line)
        if found is not None:
            word = found[3].split(" (")[0].strip()
            if word in _NAMES:
                several = "processes" if re.search("[,-]", found[2]) else "process"
                return int(_NAMES[word]), f": {several} {found[2]} on {found[1]}"
    return 0, ""


def _by_exit_code(exit_code: str) -> int:
    """Read sacct's ``CODE:SIGNAL``."""
    code, _, number = exit_code.partition(":")
    if number not in ("", "0"):
        return int(number)
    return _BY_CODE.get(int(code or 0), 0)


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a signal"


_LINE_BYTES = 400


def tail(log: Path, lines: int) -> list[str]:
    """Return the last lines of a log that hold something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LINE_BYTES * lines))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
