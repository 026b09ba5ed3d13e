"""Commands that a bench runs in processes of their own, and a Slurm that is played back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.errors import StageError

# A small process in between, since a child starts with the peak of its parent.
_MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""

WMSS = (sys.executable, "-m", "wmss_cli.cli.main")
"""The command for `wmss`."""

COMMANDS = ("sbatch", "squeue", "sacct", "scontrol", "sinfo")

_SAYS = """#!/bin/sh
echo {name} >> {folder}/calls
cat {folder}/{name}
"""
_SBATCH = """#!/bin/sh
for script; do :; done
id=$(($(wc -l < {folder}/names) + 1))
sed -n 's/^#SBATCH .*--job-name=\\([^ ]*\\).*/\\1/p' "$script" >> {folder}/names
echo "Submitted batch job $id"
"""


@dataclass(frozen=True)
class Finished:
    """A command that succeeded.

    Attributes
    ----------
    stdout : str
        Its standard output.
    memory_bytes : int
        Peak of its largest process.
    """

    stdout: str
    memory_bytes: int


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end.

    Raises
    ------
    StageError
        If it fails.
    """
    with tempfile.NamedTemporaryFile("r") as peak:
        measured = [sys.executable, "-IS", "-c", _MEASURE, peak.name, *command]
        done = subprocess.run(
            measured, capture_output=True, text=True, env=environment, check=False
        )
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise StageError(f"bench: {' '.join(command)}: {said[-1] if said else 'failed'}")
        return Finished(done.stdout, int(peak.read()) * 1024)


class PlayedBack:
    """Slurm's commands in a folder that print what they are told to, and count their calls.

    Parameters
    ----------
    folder : Path
        The folder to create.
    max_array_size : int
        Most array tasks in an array.
    """

    def __init__(self, folder: Path, max_array_size: int) -> None:
        bin_folder = folder / "bin"
        bin_folder.mkdir(parents=True)
        self._folder = folder
        self.environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
        for name in COMMANDS:
            command = bin_folder / name
            text = _SBATCH if name == "sbatch" else _SAYS
            command.write_text(text.format(name=name, folder=folder), encoding="utf-8")
            command.chmod(0o755)
            self.say(name, "")
        self.say("names", "")
        self.say("sinfo", "all*|up|infinite|4|128|1000000|(null)\n")
        self.say(
            "scontrol",
            "AccountingStorageType = accounting_storage/slurmdbd\n"
            f"ClusterName = played\nMaxArraySize = {max_array_size}\nSLURM_VERSION = 22.05.8\n",
        )
        self.forget()

    def say(self, name: str, text: str) -> None:
        """Make a command print this from now on."""
        (self._folder / name).write_text(text, encoding="utf-8")

    def names(self) -> list[str]:
        """Return the names of the submitted jobs; their ids count from 1."""
        return (self._folder / "names").read_text(encoding="utf-8").split()

    def forget(self) -> None:
        """Reset the count of calls."""
        self.say("calls", "")

    def calls(self) -> int:
        """Return how often commands other than sbatch were called."""
        return len((self._folder / "calls").read_text(encoding="utf-8").split())
