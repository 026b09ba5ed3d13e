"""How a job that was told to stop goes on: it requeues itself, or leaves that to a successor."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence

from wmss_cli.core.errors import HangError, InterruptedRunError, SlurmError
from wmss_cli.launch.slurm import call

_REQUEUE_S = 60.0


def job_id() -> str:
    """Return the id of this job as Slurm's commands take it: ``7``, or ``7_3`` in an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


def after_interrupt(mode: str, max_requeues: int, resumes: bool) -> int:
    """Decide, on every rank, how an interrupted job ends, and return the exit code.

    Only the first rank requeues; the others end well, since srun would end the first one for
    their sake.

    Parameters
    ----------
    mode : {"scontrol", "chain"}
        Of the profile.
    max_requeues : int
        So often a job may begin again.
    resumes : bool
        Whether the stage goes on where it stopped. One that begins anew is requeued only when it
        was preempted: it would meet its time limit again.
    """
    if os.environ.get("RANK", "0") != "0":
        return 0
    what = "requeued, to continue" if resumes else "requeued, to begin anew"
    return 0 if _begins_again(mode, max_requeues, resumes, what) else InterruptedRunError.exit_code


def after_hang(mode: str, max_requeues: int, behind: Sequence[int]) -> int:
    """Decide, on every rank that still can, how a training ends that hangs.

    A hang is most often a node's fault, so the job begins again, as after an interruption.

    Parameters
    ----------
    mode, max_requeues
        As of :func:`after_interrupt`.
    behind : sequence of int
        The ranks that hang; another one requeues, if there is one.
    """
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    able = [other for other in range(world_size) if other not in behind] or [0]
    if rank != able[0]:
        # Slurm ends this process when the job is requeued; else srun is to know of the failure.
        time.sleep(_REQUEUE_S)
        return HangError.exit_code
    again = _begins_again(mode, max_requeues, True, "requeued after a hang")
    return 0 if again else HangError.exit_code


def _begins_again(mode: str, max_requeues: int, resumes: bool, what: str) -> bool:
    """Requeue this job, if that can be, and say what became of it."""
    if mode == "chain" and resumes:
        _say("stopped; the next job of the chain goes on")
        return False
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    if restarts >= max_requeues:
        _say(f"stopped for good: requeued {restarts} times, max_requeues allows no more")
        return False
    try:
        why_not = _why_not(job_id(), restarts, resumes)
        if why_not is not None:
            _say(f"stopped; {why_not}")
            return False
        call("scontrol", "requeue", job_id())
    except SlurmError as error:
        _say(f"cannot requeue: {error}; set requeue: chain in the profile, and wmss retry goes on")
        return False
    _say(f"{what} ({restarts + 1} of at most {max_requeues} times)")
    return True


def _why_not(job: str, restarts: int, resumes: bool) -> str | None:
    """Say why a job must not requeue itself; None where it must.

    ``scontrol requeue`` brings back even a job that its user has just cancelled, so Slurm is
    asked first: a job that comes near its limit or is being preempted still runs.
    """
    text = call("scontrol", "show", "job", job, "--oneliner")
    values = dict(re.findall(r"(\w+)=(\S+)", text))
    state, reason = values.get("JobState", "UNKNOWN"), values.get("Reason", "None")
    if int(values.get("Restarts", "0")) > restarts:
        return "Slurm requeues it"
    if state in ("RUNNING", "SIGNALING") or reason == "TimeLimit":
        if resumes or values.get("PreemptTime", "None") != "None":
            return None
        return "it did not fit its time limit, and would begin anew; raise time_limit_min"
    return f"it is not requeued: Slurm has it as {state} (cancelled?)"


def _say(text: str) -> None:
    print(f"wmss: {text}", file=sys.stderr, flush=True)  # noqa: T201
