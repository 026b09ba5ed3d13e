"""Slurm's commands, played back from files, so that times do not include Slurm's own."""

from __future__ import annotations

import os
from pathlib import Path

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


class PlayedBack:
    """Commands in a folder that print what they are told to, and count their calls.

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
