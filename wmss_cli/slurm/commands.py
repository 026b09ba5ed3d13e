"""Slurm's commands: how to call them, and what this cluster allows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wmss_cli.core.errors import SlurmError
from wmss_cli.core.launcher_variables import describes_ranks

TIMEOUT_S = 60
_DROPPED = (
    *("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_", "PMI", "SUBMITIT_"),
    # They would hide jobs, or spare some that are to be cancelled.
    *("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_"),
)
_KEPT = ("SLURM_CONF",)


@dataclass(frozen=True)
class ClusterConfig:
    """What ``scontrol show config`` says.

    Attributes
    ----------
    name, version : str
        Name of the cluster, and version of Slurm.
    max_array_size : int
        Most tasks of one job array.
    accounting : bool
        Whether sacct can tell what became of a job.
    """

    name: str
    version: str
    max_array_size: int
    accounting: bool


def call(*command: str) -> str:
    """Run a command of Slurm and return its standard output.

    Raises
    ------
    SlurmError
        If the command is missing, fails, or takes more than a minute.
    """
    if shutil.which(command[0]) is None:
        raise SlurmError(
            f"{command[0]}: not found; is this a login node of a Slurm cluster? "
            "(--cluster local runs on this machine)"
        )
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            # Without it the indices of a long array end in "...".
            env=clean_environment() | {"SLURM_BITSTR_LEN": "0"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(
            f"{command[0]}: no answer in {TIMEOUT_S} s; the controller is busy or down, try later"
        ) from None
    if done.returncode:
        raise SlurmError(f"{command[0]}: {complaint(done.stderr)}")
    return done.stdout


def complaint(text: str) -> str:
    """Return what a command of Slurm complains about, in one line."""
    lines = [re.sub(r"^\w+: (error: )?", "", line.strip()) for line in text.splitlines()]
    said = list(dict.fromkeys(line for line in lines if line))
    reasons = [line for line in said if not line.startswith("Batch job submission failed")]
    return "; ".join(reasons or said) or "failed without a message"


def clean_environment() -> dict[str, str]:
    """Return the environment without the variables of an outer job and without sbatch's own.

    ``SBATCH_PARTITION`` and the like would silently override a profile.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not (name.startswith(_DROPPED) or describes_ranks(name))
    }


@contextmanager
def clean_process() -> Iterator[None]:
    """Give this process :func:`clean_environment` for a while (submitit calls sbatch itself)."""
    before = dict(os.environ)
    clean = clean_environment()
    for name in before.keys() - clean.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


def overriding_variables() -> list[str]:
    """Return the variables of this shell that would override a profile, and are left out."""
    return sorted(name for name in os.environ if name.startswith("SBATCH_"))


def cluster_config() -> ClusterConfig:
    """Ask for the limits of this cluster."""
    text = call("scontrol", "show", "config")
    values = dict(re.findall(r"^(\w+)\s*= *(.*?) *$", text, flags=re.MULTILINE))
    return ClusterConfig(
        name=values.get("ClusterName", "?"),
        version=values.get("SLURM_VERSION", "?"),
        max_array_size=int(values.get("MaxArraySize", "1001")),
        accounting=values.get("AccountingStorageType", "").endswith("slurmdbd"),
    )
