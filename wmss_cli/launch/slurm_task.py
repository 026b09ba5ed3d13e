"""What runs in a Slurm job, on every rank: the only thing of wmss that is ever pickled.

It holds one string, the path of a file that says what to do. submitit starts it; submitit's
result pickle is never written, since the process ends here: the manifest is the truth.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wmss_cli.core import artifact
from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.errors import HangError, InterruptedRunError
from wmss_cli.core.files import write_json
from wmss_cli.core.launchers import forget_launchers
from wmss_cli.core.redo import is_marked
from wmss_cli.launch import requeue, worker
from wmss_cli.launch.chain import Link
from wmss_cli.launch.profile import Profile
from wmss_cli.stages import table

CONTROL = "control"
_LOCK_TIMEOUT_S = 300.0
_LATE_S = 60.0


class SlurmTask:
    """Run the task of an order file that belongs to this job.

    Parameters
    ----------
    order : str
        Path of a file by :func:`write_order`.
    """

    def __init__(self, order: str) -> None:
        self.order = order

    def __call__(self) -> None:
        """Run the task, and end the process."""
        order = read_order(Path(self.order))
        task = order["tasks"][int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
        _describe_ranks()
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        # After a requeue the processes of the attempt before may take a while to die.
        artifact.lock_timeout_s = _LOCK_TIMEOUT_S
        control = control_folder(Path(self.order).parent, requeue.job_id())
        control.mkdir(parents=True, exist_ok=True)

        def then(code: int, error: BaseException | None) -> int:
            mode, most = order["requeue"], order["max_requeues"]
            if isinstance(error, HangError):
                return requeue.after_hang(mode, most, error.behind)
            if code == InterruptedRunError.exit_code:
                resumes = table.find(task["job"]["stage"]).distributed
                return requeue.after_interrupt(mode, most, resumes)
            return code

        work = functools.partial(_work, Job(**task["job"]), task["merge"])
        worker.leave(worker.run(work, control, then))


def _work(job: Job, merge: bool) -> None:
    _wait_for(job.inputs.values())
    # Slurm may run a job again that was done: after a node failed, or in a chain.
    if finished(job) is not None:
        return
    table.run(job, merge)


def _wait_for(inputs: Iterable[str]) -> None:
    """Give a shared file system a minute to show what another node has just written.

    Where an input was made again, that is the new one: the mark on the old one is gone with it.
    """
    paths = [Path(path) for path in inputs]
    deadline = time.monotonic() + _LATE_S
    while time.monotonic() < deadline and not all(p.exists() and not is_marked(p) for p in paths):
        time.sleep(1)


def write_order(path: Path, link: Link, parts: list[int], profile: Profile) -> None:
    """Write what :class:`SlurmTask` reads: the tasks of a job or an array, in order."""
    tasks = [
        {"job": asdict(link.tasks[part].job), "merge": link.tasks[part].merge} for part in parts
    ]
    order: dict[str, Any] = {
        "tasks": tasks,
        "requeue": profile.requeue,
        "max_requeues": profile.max_requeues,
        # Not for the job: with what it was sent, when another submission looks at it.
        "profile": profile.model_dump(mode="json"),
    }
    write_json(path, order)


def read_order(path: Path) -> dict[str, Any]:
    """Return what :func:`write_order` wrote."""
    order: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return order


def control_folder(folder: Path, job_id: str) -> Path:
    """Return where the ranks of a job report their errors (:func:`worker.read_error`)."""
    return folder / CONTROL / job_id


def _describe_ranks() -> None:
    """Set what torch.distributed reads, from what Slurm says; the GPUs stay as Slurm set them."""
    from submitit.helpers import TorchDistributedEnvironment

    # sbatch hands on the shell that it was called from.
    forget_launchers()
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    with suppress(OSError):
        socket.getaddrinfo(os.environ["MASTER_ADDR"], None)
        return
    # Slurm's name of the first node means nothing to the network: the address that srun gives.
    os.environ["MASTER_ADDR"] = os.environ["SLURM_LAUNCH_NODE_IPADDR"]
