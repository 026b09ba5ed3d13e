"""What runs in a Slurm job, on every rank: the only thing of wmss that is ever pickled.

It contains one string, the path of a file that says what to do. submitit starts it; submitit's
result pickle is never written, since the process ends here: the manifest is the truth.

A job that is told to stop requeues itself, or leaves the rest to a successor.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.errors import HangError, InterruptedRunError, SlurmError
from wmss_cli.core.files import write_json
from wmss_cli.core.launcher_variables import forget_launchers
from wmss_cli.core.ports import port_of
from wmss_cli.core.redo import is_marked
from wmss_cli.launch import worker
from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.commands import call
from wmss_cli.stages import table
from wmss_cli.stages.plan import check_as_planned

_HANDOVER = "control"
_LOCK_TIMEOUT_S = 300.0
_LATE_S = 60.0
_REQUEUE_S = 60.0


class SlurmTask:
    """Run the task of an order file that belongs to this job.

    Parameters
    ----------
    order : str
        Path of a file that :func:`write_order` wrote.
    """

    def __init__(self, order: str) -> None:
        self.order = order

    def __call__(self) -> None:
        """Run the task, and end the process."""
        order = read_order(Path(self.order))
        job = Job(**order["jobs"][int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))])
        _describe_ranks()
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        # After a requeue, the processes of the previous attempt may take a while to die.
        artifact.lock_timeout_s = _LOCK_TIMEOUT_S
        handover = handover_folder(Path(self.order).parent, job_id())
        handover.mkdir(parents=True, exist_ok=True)

        def then(code: int, error: BaseException | None) -> int:
            mode, most = order["requeue"], order["max_requeues"]
            if isinstance(error, HangError):
                return after_hang(mode, most, error.behind)
            if code == InterruptedRunError.exit_code:
                resumes = table.find(job.stage).distributed
                return after_interrupt(mode, most, resumes)
            return code

        work = functools.partial(_work, job, order)
        worker.leave(worker.run(work, handover, then))


def _work(job: Job, order: Mapping[str, Any]) -> None:
    _wait_for(job.inputs.values())
    check_as_planned(Job(**order["whole"]), order["fingerprint"])
    # Slurm may run a finished job again: after a node failed, or in a chain.
    if finished(job) is not None:
        return
    table.run(job, order["merges"])


def _wait_for(inputs: Iterable[str]) -> None:
    """Give a shared file system a minute to show what another node has just written.

    If an input was made again, this waits for the new one, which does not have the old one's mark.
    """
    paths = [Path(path) for path in inputs]
    deadline = time.monotonic() + _LATE_S
    while time.monotonic() < deadline and not all(p.exists() and not is_marked(p) for p in paths):
        time.sleep(1)


def write_order(path: Path, link: Link, indices: Sequence[int]) -> None:
    """Write what :class:`SlurmTask` reads: the job of each array task, and the step as planned."""
    order: dict[str, Any] = {
        "jobs": [asdict(link.jobs[index]) for index in indices],
        "whole": asdict(link.step.job),
        "fingerprint": link.step.fingerprint,
        "merges": link.merges,
        "requeue": link.profile.requeue,
        "max_requeues": link.profile.max_requeues,
        # Not for the job: another submission reads here what it was sent with.
        "profile": link.profile.model_dump(mode="json"),
    }
    write_json(path, order)


def read_order(path: Path) -> dict[str, Any]:
    """Return what :func:`write_order` wrote."""
    order: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return order


def handover_folder(folder: Path, job_id: str) -> Path:
    """Return where the ranks of a job report their errors (:func:`worker.read_error`)."""
    return folder / _HANDOVER / job_id


def _describe_ranks() -> None:
    """Set what torch.distributed reads, from what Slurm says; the GPUs stay as Slurm set them."""
    from submitit.helpers import TorchDistributedEnvironment

    # sbatch passes on the environment of the shell that called it.
    forget_launchers()
    os.environ["MASTER_PORT"] = str(port_of(job_id()))
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    with suppress(OSError):
        socket.getaddrinfo(os.environ["MASTER_ADDR"], None)
        return
    # The network cannot resolve Slurm's name of the first node: use the address that srun gives.
    os.environ["MASTER_ADDR"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"]


def job_id() -> str:
    """Return the id of this job as Slurm's commands take it: ``7``, or ``7_3`` in an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


def after_interrupt(mode: str, max_requeues: int, resumes: bool) -> int:
    """Decide, on every rank, how an interrupted job ends, and return the exit code.

    Only the first rank requeues; the others exit with 0, since srun would otherwise end the first
    one because of them.

    Parameters
    ----------
    mode : {"scontrol", "chain"}
        `requeue` of the profile.
    max_requeues : int
        How often a job may start again.
    resumes : bool
        Whether the stage continues where it stopped. One that starts again from the beginning is
        requeued only if it was preempted: otherwise it would reach its time limit again.
    """
    if os.environ.get("RANK", "0") != "0":
        return 0
    what = "requeued, to continue" if resumes else "requeued, to start again"
    return 0 if _begins_again(mode, max_requeues, resumes, what) else InterruptedRunError.exit_code


def after_hang(mode: str, max_requeues: int, behind: Sequence[int]) -> int:
    """Decide, on every rank that still can, how a hanging training ends.

    A hang is most often a node's fault, so the job starts again, as after an interruption.

    Parameters
    ----------
    mode, max_requeues
        As in :func:`after_interrupt`.
    behind : sequence of int
        The ranks that hang; one of the others requeues, if there are any.
    """
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    able = [other for other in range(world_size) if other not in behind] or [0]
    if rank != able[0]:
        # Slurm ends this process when the job is requeued; if not, srun has to see the failure.
        time.sleep(_REQUEUE_S)
        return HangError.exit_code
    again = _begins_again(mode, max_requeues, True, "requeued after a hang")
    return 0 if again else HangError.exit_code


def _begins_again(mode: str, max_requeues: int, resumes: bool, what: str) -> bool:
    """Requeue this job if possible, and say what happened."""
    if mode == "chain" and resumes:
        _say("stopped; the next job of the chain continues")
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
        _say(f"cannot requeue: {error}; set requeue: chain in the profile, then wmss retry")
        return False
    _say(f"{what} ({restarts + 1} of at most {max_requeues} times)")
    return True


def _why_not(job: str, restarts: int, resumes: bool) -> str | None:
    """Say why a job must not requeue itself; None if it must.

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
        return "it did not fit its time limit, and would start again; raise time_limit_min"
    return f"it is not requeued: Slurm says {state} (cancelled?)"


def _say(text: str) -> None:
    print(f"wmss: {text}", file=sys.stderr, flush=True)  # noqa: T201
