"""A Slurm that is one file: the commands that wmss calls, and jobs that move where a test says.

The commands print what Slurm 22.05 prints, in the formats that wmss asks for; what they do not
know they refuse. No job ever runs by itself.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

from slurm.fake_commands import COMMANDS, ENDED, State, add, create, end_dependents, tasks_of

_WRAPPER = """#!{python} -IS
import sys
sys.path.insert(0, {here!r})
import fake_commands
fake_commands.main({folder!r}, {name!r}, sys.argv[1:])
"""
_CONFIG = {
    "AccountingStorageType": "accounting_storage/slurmdbd",
    "ClusterName": "fake",
    "MaxArraySize": "1001",
    "SLURM_VERSION": "22.05.8",
}


class FakeSlurm:
    """A cluster in a folder; `bin` must stand first on PATH.

    Parameters
    ----------
    folder : Path
        Is created.
    """

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        here = str(Path(__file__).parent)
        for name in COMMANDS:
            command = self.bin / name
            command.write_text(
                _WRAPPER.format(python=sys.executable, here=here, folder=str(folder), name=name)
            )
            command.chmod(0o755)
        self._folder = folder
        create(str(folder), _CONFIG)

    def configure(self, **values: str) -> None:
        """Set what ``scontrol show config`` says, such as ``MaxArraySize="4"``."""
        with State(str(self._folder)) as state:
            state["config"] |= values

    def refuse(self, name: str, complaint: str) -> None:
        """Let sbatch refuse jobs whose name contains a text; an empty complaint allows them."""
        with State(str(self._folder)) as state:
            state["refusals"] = {name: complaint} if complaint else {}

    def answer(self, command: str, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        """Let a command always say this."""
        with State(str(self._folder)) as state:
            state["answers"][command] = [stdout, stderr, code]

    def answer_again(self, command: str) -> None:
        """Take :meth:`answer` back."""
        with State(str(self._folder)) as state:
            del state["answers"][command]

    def add(self, script: str) -> str:
        """Put a job in the queue as sbatch does, and return its id."""
        with State(str(self._folder)) as state:
            return add(state, script)

    def kill_sender(self, when: str) -> None:
        """Kill the next process that calls sbatch, ``before`` or ``after`` there is a job."""
        with State(str(self._folder)) as state:
            state["death"] = when

    def move(self, job_id: str, state: str, **fields: Any) -> None:
        """Bring a job, a task (``7_3``) or all tasks of an array into a state.

        Parameters
        ----------
        fields
            ``reason``, ``elapsed``, ``left``, ``start``, ``nodes`` as squeue prints them; ``exit``,
            ``elapsed_s``, ``cpu``, ``rss`` as sacct does; ``forgotten`` by squeue.
        """
        with State(str(self._folder)) as known:
            reason = "Priority" if state == "PENDING" else "None"
            for task in tasks_of(known, job_id):
                task.update({"state": state, "reason": reason, **fields})
            if state in ENDED:
                end_dependents(known)

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs that were ever sent, oldest first."""
        with State(str(self._folder)) as state:
            return list(state["jobs"])

    def names(self) -> list[str]:
        """Return the names of all jobs, without ``wmss-`` and the hash."""
        return [stage_of(job["name"]) for job in self.jobs()]

    def last(self, stage: str) -> dict[str, Any]:
        """Return the newest job of a stage (``score.0-3`` is an array)."""
        return [job for job in self.jobs() if stage_of(job["name"]) == stage][-1]

    def states(self, job_id: str) -> list[str]:
        """Return the state of each task of a job."""
        with State(str(self._folder)) as state:
            return [task["state"] for task in tasks_of(state, job_id)]

    def calls(self, command: str) -> list[list[str]]:
        """Return the arguments of every call of a command."""
        lines = (self._folder / "calls").read_text().splitlines()
        return [arguments for name, arguments in map(ast.literal_eval, lines) if name == command]


def stage_of(name: str) -> str:
    """Return ``score.0-3`` of ``wmss-score-0123456789ab.0-3``."""
    stem, _, part = name.removeprefix("wmss-").partition(".")
    return stem.rpartition("-")[0] + (f".{part}" if part else "")
