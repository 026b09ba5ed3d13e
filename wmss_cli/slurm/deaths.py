"""What killed a job that reported no error itself, according to Slurm's accounts and its log."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.slurm.queue import Usage

_LINE_BYTES = 400
_LINES = 200
# What slurmstepd and srun write: OverMemoryKill, the kernel's cgroup, and the task's own end.
_MEMORY = re.compile(
    r"exceeded (job |step |virtual )?memory limit|oom[_-]kill|OOM Killed|OverMemoryKill"
    r"|task \d+: Out Of Memory",
    re.IGNORECASE,
)
_TASK = re.compile(r"srun: error: (\S+): tasks? ([\d,-]+): (.+)")
_NAMES = {
    "Killed": signal.SIGKILL,
    "Out Of Memory": signal.SIGKILL,
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Aborted": signal.SIGABRT,
    "Illegal instruction": signal.SIGILL,
    "Floating point exception": signal.SIGFPE,
}
_BY_SLURM = ("TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "CANCELLED")
"""In these states Slurm itself ended the processes, so their signals say nothing."""
# srun ends with the signal's number, a shell with 128 more. 1 to 6 can be a program's own code.
_BY_CODE = {number: number for number in (6, 7, 8, 9, 11, 15)} | {128 + n: n for n in range(1, 32)}


@dataclass(frozen=True)
class Death:
    """How the processes of a job were killed.

    Attributes
    ----------
    words : str
        In plain words: the signal, and which process on which node, if that is known.
    of_memory : bool
        Whether the reason was their memory.
    likely : bool
        Whether memory is only the most likely reason.
    """

    words: str
    of_memory: bool
    likely: bool


def death(state: str, usage: Usage | None, log: Path) -> Death | None:
    """Return how a job that reported no error was killed; None if nothing says so.

    Parameters
    ----------
    state : str
        Slurm's word for how it ended.
    usage : Usage or None
        What sacct says about it.
    log : Path
        Log of the first process, which srun also writes to.
    """
    if state in _BY_SLURM:
        return None
    lines = tail(log, _LINES)
    of_memory = state == "OUT_OF_MEMORY" or any(_MEMORY.search(line) for line in lines)
    of_memory = of_memory or (usage is not None and usage.out_of_memory)
    number, where = _first_killed(lines)
    if not number and usage is not None:
        number = usage.signal or _by_exit_code(usage.exit_code)
    if not (number or of_memory):
        return None
    name = f"{signal_name(number)} (signal {number})" if number else ""
    if of_memory:
        return Death(f"out of memory{where}", of_memory=True, likely=True)
    return Death(f"killed by {name}{where}", False, likely=number == signal.SIGKILL)


def _first_killed(lines: list[str]) -> tuple[int, str]:
    """Return the signal of the process that ended first, and which one it was; 0 if none did."""
    for line in lines:
        found = _TASK.search(line)
        if found is not None:
            word = found[3].split(" (")[0].strip()
            if word in _NAMES:
                several = "processes" if re.search("[,-]", found[2]) else "process"
                return int(_NAMES[word]), f": {several} {found[2]} on {found[1]}"
    return 0, ""


def _by_exit_code(exit_code: str) -> int:
    """Read sacct's ``CODE:SIGNAL``."""
    code, _, number = exit_code.partition(":")
    if number not in ("", "0"):
        return int(number)
    return _BY_CODE.get(int(code or 0), 0)


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a signal"


def tail(log: Path, lines: int) -> list[str]:
    """Return the last lines of a log that are not empty."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LINE_BYTES * lines))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
