"""Every state that Slurm's commands show of a job, and what it means for a run.

From squeue(1) and the page on job state codes of Slurm 26.05; what older versions know is a part
of it. A state that is not here counts as running: a job that Slurm still lists is never sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Fate = Literal["waits", "runs", "ended"]


class JobState(NamedTuple):
    """What a state means.

    Attributes
    ----------
    fate : str
        ``waits`` and ``runs`` are on their way; ``ended`` can only be sent again.
    words : str
        In plain words; ``{job}`` is its id. Empty where something else says more.
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
    "EXPEDITING": JobState("waits", "requeued, starts as soon as it can"),
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


def meaning(state: str) -> JobState:
    """Return what a state means, as squeue or sacct write it (``CANCELLED by 1000``)."""
    base = state.split(" ")[0].rstrip("+")
    return STATES.get(base) or JobState("runs", f"Slurm has it as {base}, which is new")


def has_ended(state: str) -> bool:
    """Say whether a job in this state can only be sent again."""
    return meaning(state).fate == "ended"
