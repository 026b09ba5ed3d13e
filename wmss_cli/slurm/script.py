"""From a link of the chain to sbatch: the script, what Slurm says about it, and sending it.

submitit writes the script and the pickles. It takes everything from ``parameters``, so what
``--dry-run`` shows is what is sent.
"""

from __future__ import annotations

import io
import re
import shlex
import subprocess
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import commands
from wmss_cli.slurm.chain import Link
from wmss_cli.slurm.profile import Profile
from wmss_cli.slurm.task import SlurmTask

_PASSED_ON = (
    *("account", "qos", "constraint", "nodelist", "exclude"),
    *("mail_type", "mail_user", "comment"),
)


class _Executor(submitit.SlurmExecutor):
    """submitit's executor, even without srun: a script can be shown anywhere."""

    @classmethod
    def affinity(cls) -> int:
        return 2


def parameters(link: Link, dependency: str | None) -> dict[str, Any]:
    """Return submitit's parameters for a link.

    Parameters
    ----------
    link : Link
        What is sent, and how.
    dependency : str or None
        As sbatch expects it, such as ``afterok:7:8``.
    """
    profile, resources = link.profile, link.resources
    found: dict[str, Any] = {
        "job_name": link.name,
        "partition": resources.partition or profile.partition,
        "time": resources.time_limit_min,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "signal_delay_s": resources.signal_lead_s,
        "dependency": dependency,
        "array_parallelism": link.limit,
        "wckey": None,
        "stderr_to_stdout": True,
        "setup": _setup(profile),
        "srun_args": [*_srun(profile), *profile.srun],
    }
    found |= {name: getattr(profile, name) for name in _PASSED_ON}
    if resources.mem_gb is not None:
        found["mem"] = f"{resources.mem_gb}G" if resources.mem_gb else "0"
    if resources.gpus_per_node:
        kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
        found["gres"] = f"gpu:{kind}{resources.gpus_per_node}"
    if resources.exclusive:
        found["exclusive"] = True
    more: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    if profile.reservation is not None:
        more["reservation"] = profile.reservation
    more |= {name: value for name, value in profile.sbatch.items() if value is not False}
    found["additional_parameters"] = more
    return {name: value for name, value in found.items() if value is not None} | {"wckey": None}


def _srun(profile: Profile) -> list[str]:
    """Return wmss's own options of srun; a profile's come after them, and the last one counts."""
    # One rank that fails ends the others, which would wait for it.
    options = ["--kill-on-bad-exit=1"]
    # Consecutive ranks share a socket, as their GPUs do; by default Slurm would alternate between
    # sockets. srun takes what sbatch was told, unless it is told otherwise.
    if "distribution" not in profile.sbatch:
        options.append("--distribution=block:block")
    return options


def _setup(profile: Profile) -> list[str]:
    exports = [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    return [
        "set -euo pipefail",
        "umask 077",
        # srun no longer takes it from sbatch.
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        *profile.setup,
        *exports,
    ]


def render(link: Link, folder: Path, count: int, dependency: str | None) -> str:
    """Return the script that :func:`send` gives to sbatch, for that many array tasks."""
    executor = _executor(link, folder, dependency)
    if count > 1:
        executor.parameters["map_count"] = count
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def test_only(text: str) -> str:
    """Return what ``sbatch --test-only`` says about a script: when it would start, and where.

    Raises
    ------
    SlurmError
        If Slurm would refuse it.
    """
    # The jobs that it waits for do not exist yet, so this part cannot be tested.
    lines = [line for line in text.split("\n") if not line.startswith("#SBATCH --dependency")]
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write("\n".join(lines))
        file.flush()
        done = subprocess.run(
            ["sbatch", "--test-only", file.name],
            capture_output=True,
            text=True,
            env=commands.clean_environment(),
            timeout=commands.TIMEOUT_S,
            check=False,
        )
    verdict = commands.complaint(done.stderr + done.stdout)
    if done.returncode:
        raise SlurmError(f"sbatch: {verdict}")
    return re.sub(r"^Job \d+ to start", "would start", verdict)


def send(link: Link, folder: Path, order: Path, count: int, dependency: str | None) -> str:
    """Send a link and return the job's id.

    Parameters
    ----------
    folder : Path
        Where the script, the pickles and the logs go.
    order : Path
        File that says what each array task does.
    count : int
        Number of array tasks.
    dependency : str or None
        As sbatch expects it.

    Raises
    ------
    SlurmError
        If Slurm refuses it.
    """
    executor = _executor(link, folder, dependency)
    task = SlurmTask(str(order))
    try:
        # submitit prints what sbatch says, and raises it as well.
        with commands.clean_process(), redirect_stderr(io.StringIO()):
            jobs = executor.submit_array([task] * count)
    except (FailedJobError, FailedSubmissionError) as error:
        raise SlurmError(f"sbatch: {link.name}: {commands.complaint(str(error))}") from None
    return str(jobs[0].job_id).split("_")[0]


def restore_pickles(order: Path, job_id: str, count: int) -> None:
    """Put the pickles of a job in place, after its sender died before it could.

    They have no job's id yet and name this order; those of a sender that never reached sbatch name
    another one.
    """
    folder = order.parent
    loose = [
        path
        for path in sorted(folder.glob("*.pkl"))
        if "_" not in path.stem and order.name.encode() in path.read_bytes()
    ]
    names = [job_id] if count == 1 else [f"{job_id}_{index}" for index in range(count)]
    targets = [folder / f"{name}_submitted.pkl" for name in names]
    # All of them have the same content; the sender may have died while renaming them.
    missing = [target for target in targets if not target.exists()]
    for path, target in zip(loose, missing, strict=False):
        path.rename(target)


def _executor(link: Link, folder: Path, dependency: str | None) -> _Executor:
    executor = _Executor(folder, python=link.profile.python)
    executor.update_parameters(**parameters(link, dependency))
    return executor
