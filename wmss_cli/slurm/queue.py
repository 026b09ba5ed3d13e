"""What Slurm knows about this user's jobs: one call for all jobs, and one for those that ended.

``squeue`` knows what waits and runs, and for some minutes what ended. ``sacct`` knows what ended,
if the site keeps accounts; it is asked once for all jobs that squeue has forgotten.

Job states are those of squeue(1) and of the page on job state codes of Slurm 26.05, which include
those of older versions. A state that is not in the table counts as running: a job that Slurm still
lists is never sent again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import commands

_CLOCKS_S = 3600.0

_TERM = 15
_LAST_SIGNAL = 64

NEVER = "DependencyNeverSatisfied"

_QUEUE = "%i|%T|%r|%M|%L|%S|%j|%N"
_ACCOUNTS = (
    *("JobID", "State", "ExitCode", "ElapsedRaw", "TotalCPU", "CPUTimeRAW", "MaxRSS"),
    *("ReqMem", "AllocTRES", "End", "Reason"),
)


Fate = Literal["waits", "runs", "ended"]


class JobState(NamedTuple):
    """What a state means.

    Attributes
    ----------
    fate : str
        ``waits`` and ``runs`` are on their way; ``ended`` can only be sent again.
    words : str
        In plain words; ``{job}`` is its id. Empty if something else says more.
    """

    fate: Fate
    words: str = ""


_RELEASE = "'scontrol release {job}' lets it run again, 'wmss cancel' ends it"

STATES: Mapping[str, JobState] = {
    "BOOT_FAIL": JobState("ended", "its node did not boot"),
    "CANCELLED": JobState("ended", "cancelled"),
    "COMPLETED": JobState("ended", "ended without a result"),
    "COMPLETING": JobState("runs", "ending"),
    "CONFIGURING": JobState("waits", "waits for its nodes to boot"),
    "DEADLINE": JobState("ended", "its deadline passed"),
    "EXPEDITING": JobState("waits", "requeued, starts as soon as possible"),
    "FAILED": JobState("ended", "failed"),
    "LAUNCH_FAILED": JobState("waits", "could not be started on its node; Slurm requeues it"),
    "NODE_FAIL": JobState("ended", "its node failed"),
    "OUT_OF_MEMORY": JobState("ended", "out of memory"),
    "PENDING": JobState("waits"),
    "POWER_UP_NODE": JobState("waits", "waits for its nodes to boot"),
    "PREEMPTED": JobState("ended", "preempted by a job of higher priority"),
    "RECONFIG_FAIL": JobState("waits", "its nodes could not be configured; Slurm requeues it"),
    "REQUEUED": JobState("waits", "being requeued"),
    "REQUEUE_FED": JobState("waits", "being requeued by the federation"),
    "REQUEUE_HOLD": JobState("waits", f"requeued and held; {_RELEASE}"),
    "RESIZING": JobState("runs"),
    "RESV_DEL_HOLD": JobState("waits", f"held, its reservation was deleted; {_RELEASE}"),
    "REVOKED": JobState("runs", "runs on another cluster of the federation"),
    "RUNNING": JobState("runs"),
    "SIGNALING": JobState("runs"),
    "SPECIAL_EXIT": JobState("waits", f"requeued and held (special exit); {_RELEASE}"),
    "STAGE_OUT": JobState("runs", "staging out its files"),
    "STOPPED": JobState("runs", "stopped by a signal, keeps its nodes"),
    "SUSPENDED": JobState("runs", "suspended"),
    "TIMEOUT": JobState("ended", "reached its time limit"),
    "UPDATE_DB": JobState("runs"),
}


class Record(BaseModel):
    """One job, or one task of an array, as Slurm has it.

    Attributes
    ----------
    job_id : str
        ``7``, or ``7_3``.
    state, reason : str
        What Slurm calls them.
    name, nodes : str
        Name of the job; nodes on which it runs.
    elapsed_s, left_s : int or None
        Time since its start and until its limit, in seconds.
    start : datetime or None
        When it began, or is expected to begin.
    """

    model_config = ConfigDict(frozen=True)

    job_id: str
    state: str
    reason: str = ""
    name: str = ""
    nodes: str = ""
    elapsed_s: int | None = None
    left_s: int | None = None
    start: datetime | None = None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs, and can still produce something."""
        return not has_ended(self.state) and self.reason != NEVER

    @property
    def has_begun(self) -> bool:
        """Whether its work has begun."""
        return meaning(self.state).fate == "runs"


class Usage(BaseModel):
    """What a job or an array task used, over all its attempts, according to sacct.

    Attributes
    ----------
    state : str
        The last one.
    exit_code : str
        ``CODE:SIGNAL``.
    gpu_s, cpu_s, cpu_allocated_s : float
        Seconds of GPUs allocated, of processors used, and of processors allocated.
    memory_gib, memory_asked_gib : float
        Most that one process used, and what was asked for on a node; 0 if unknown.
    signal : int
        What killed a step of the last attempt; 0 if nothing did.
    out_of_memory : bool
        Whether Slurm says so of a step of the last attempt.
    last_gpu_s, last_elapsed_s : float
        The same for the last attempt alone.
    """

    model_config = ConfigDict(frozen=True)

    state: str
    exit_code: str = ""
    elapsed_s: float = 0.0
    gpu_s: float = 0.0
    cpu_s: float = 0.0
    cpu_allocated_s: float = 0.0
    memory_gib: float = 0.0
    memory_asked_gib: float = 0.0
    signal: int = 0
    out_of_memory: bool = False
    last_gpu_s: float = 0.0
    last_elapsed_s: float = 0.0

    @property
    def earlier(self) -> tuple[float, float]:
        """Seconds of GPUs, and of time, of the attempts before the one that waits or runs."""
        if has_ended(self.state) or self.state == "REQUEUED":
            return self.gpu_s, self.elapsed_s
        return self.gpu_s - self.last_gpu_s, self.elapsed_s - self.last_elapsed_s


def ask_queue() -> dict[str, Record]:
    """Return all jobs of this user that squeue knows, by id.

    Raises
    ------
    SlurmError
        If the controller does not answer.
    """
    # Without --all it leaves out jobs in hidden partitions, and those that a federation moved.
    asked = ("squeue", "--me", "--all", "--noheader", "--states=all", f"--format={_QUEUE}")
    text = commands.call(*asked)
    return {record.job_id: record for record in read_queue(text)}


def read_queue(text: str) -> Iterator[Record]:
    """Read what squeue prints; ``7_[2-4,9]`` is a record for each array task."""
    for line in text.splitlines():
        fields = line.split("|")
        # A user's own job may have anything in its name, even a line break.
        if len(fields) != _QUEUE.count("|") + 1 or not fields[0][:1].isdigit():
            continue
        job_ids, state, reason, elapsed, left, start, name, nodes = fields
        for job_id in expand(job_ids):
            yield Record.model_construct(
                job_id=job_id,
                state=state,
                reason="" if reason == "None" else reason,
                name=name,
                nodes=nodes,
                elapsed_s=seconds(elapsed),
                left_s=seconds(left),
                start=moment(start),
            )


def accounts(job_ids: Sequence[str], since: float) -> dict[str, Usage] | None:
    """Return what sacct knows about ended jobs, by id; None if it does not answer.

    Parameters
    ----------
    job_ids : sequence of str
        Ids of jobs and array tasks.
    since : float
        When the first was sent, in seconds since the epoch: ids are reused after years.
    """
    if not job_ids:
        return {}
    try:
        return ask_accounts(job_ids, since)
    except SlurmError:
        return None


def ask_accounts(job_ids: Sequence[str], since: float) -> dict[str, Usage]:
    """Return what sacct knows, as :func:`accounts`.

    Raises
    ------
    SlurmError
        If it does not answer.
    """
    whole = sorted({job_id.split("_")[0] for job_id in job_ids}, key=int)
    text = commands.call(
        "sacct",
        *("--noheader", "--parsable2", "--duplicates", f"--format={','.join(_ACCOUNTS)}"),
        f"--jobs={','.join(whole)}",
        f"--starttime={datetime.fromtimestamp(since - _CLOCKS_S):%Y-%m-%dT%H:%M:%S}",
    )
    return read_accounts(text)


def read_accounts(text: str) -> dict[str, Usage]:
    """Read what sacct prints: a line for each attempt of a job, followed by those of its steps."""
    found: dict[str, Usage] = {}
    current: list[str] = []
    for line in text.splitlines():
        values = dict(zip(_ACCOUNTS, line.split("|"), strict=True))
        job, _, step = values["JobID"].partition(".")
        if step:
            for job_id in current:
                found[job_id] = _add_step(found[job_id], values)
            continue
        current = list(expand(job))
        if "[" in job:
            # The rest of an array still names array tasks that have run since.
            current = [job_id for job_id in current if job_id not in found]
        for job_id in current:
            found[job_id] = _add(found.get(job_id), values)
    return found


def _add_step(job: Usage, values: dict[str, str]) -> Usage:
    number = int(values["ExitCode"].partition(":")[2] or 0)
    changed: dict[str, Any] = {}
    if gib(values["MaxRSS"]) > job.memory_gib:
        changed["memory_gib"] = gib(values["MaxRSS"])
    # When one is killed, the others are told to end.
    if 0 < number <= _LAST_SIGNAL and job.signal in (0, _TERM):
        changed["signal"] = number
    if values["State"].startswith("OUT_OF_MEMORY"):
        changed["out_of_memory"] = True
    return job.model_copy(update=changed) if changed else job


def _add(before: Usage | None, values: dict[str, str]) -> Usage:
    elapsed = float(values["ElapsedRaw"] or 0)
    tres = dict(pair.split("=", 1) for pair in values["AllocTRES"].split(",") if "=" in pair)
    nodes = int(tres.get("node", "1"))
    asked = gib(tres.get("mem", "0")) / max(1, nodes)
    known = before or Usage(state="")
    gpu_s = elapsed * int(tres.get("gres/gpu", "0"))
    return Usage(
        state=values["State"].split(" ")[0],
        exit_code=values["ExitCode"],
        elapsed_s=known.elapsed_s + elapsed,
        gpu_s=known.gpu_s + gpu_s,
        last_gpu_s=gpu_s,
        last_elapsed_s=elapsed,
        cpu_s=known.cpu_s + (seconds(values["TotalCPU"]) or 0),
        cpu_allocated_s=known.cpu_allocated_s + float(values["CPUTimeRAW"] or 0),
        memory_gib=known.memory_gib,
        memory_asked_gib=asked,
    )


def expand(job_ids: str) -> Iterator[str]:
    """Yield the ids that squeue and sacct write as ``7``, ``7_3`` or ``7_[2-4,9%2]``."""
    base, bracket, inside = job_ids.partition("_[")
    if not bracket:
        yield job_ids
        return
    for part in inside.rstrip("]").split("%")[0].split(","):
        first, _, last = part.partition("-")
        last, _, step = last.partition(":")
        yield from (
            f"{base}_{i}" for i in range(int(first), int(last or first) + 1, int(step or 1))
        )


def moment(text: str) -> datetime | None:
    """Read a time of Slurm; None for ``N/A`` and ``Unknown``."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def seconds(text: str) -> int | None:
    """Read Slurm's ``DAYS-HH:MM:SS``, ``MM:SS`` and ``MM:SS.mmm``; None if there is no time."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?", text)
    if found is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + rest


def gib(text: str) -> float:
    """Read Slurm's ``1234K``, ``12.5M``, ``16G`` as GiB; 0 if there is nothing."""
    found = re.fullmatch(r"([\d.]+)([KMGTP]?)[nc]?", text)
    if found is None:
        return 0.0
    power = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}[found[2]]
    return float(found[1]) * 1024.0 ** (power - 3)


def by_name(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group the records of jobs that can still produce something by the job's name."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        if record.is_active:
            groups.setdefault(record.name, []).append(record)
    return groups


def meaning(state: str) -> JobState:
    """Return what a state means, as squeue or sacct write it (``CANCELLED by 1000``)."""
    base = state.split(" ")[0].rstrip("+")
    return STATES.get(base) or JobState("runs", f"Slurm says {base}, which is new")


def has_ended(state: str) -> bool:
    """Say whether a job in this state can only be sent again."""
    return meaning(state).fate == "ended"
