"""A command in a process of its own: its output, and the memory that it uses."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
