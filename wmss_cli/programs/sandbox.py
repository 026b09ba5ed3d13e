"""Run programs that a model wrote where they can do no harm.

There are three levels: ``bubblewrap`` (namespaces: the host is invisible), ``landlock`` (degraded:
the host is visible, and the kernel denies access) and ``none`` (limits on time and memory only;
used only on request). At the first two, system calls that no computation needs are blocked.
"""

from __future__ import annotations

import contextlib
import functools
import marshal
import math
import os
import platform
import re
import secrets
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from wmss_cli.core.errors import SandboxError
from wmss_cli.core.verdict import Level
from wmss_cli.programs.command import DEVICES, harness_code, import_path, python_command, readable
from wmss_cli.programs.harness import PATIENCE, TOKEN_BYTES, frame

if TYPE_CHECKING:
    from wmss_cli.programs.harness import Program, Report, Request

LEVELS: tuple[Level, ...] = ("bubblewrap", "landlock", "none")
"""From the safest to no protection."""

Ending = Literal["passed", "failed", "error", "exit_early", "timeout", "memory", "output", "crash"]
"""How a run ended."""

# Those that a runner may report itself; all others are observed from outside.
_REASONS = ("passed", "failed", "error", "exit_early", "memory", "crash")
# Time to start and to report, on a busy machine.
_GRACE_S = 20.0
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PATH": "/usr/bin:/bin",
    # Integers of any length can be read and written, at the expense of the program's time.
    "PYTHONINTMAXSTRDIGITS": "0",
    # The order of sets is then the same every time, and so is the verdict.
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}
# From this version on, the kernel counts the threads of each user namespace separately.
_COUNTS_THREADS_APART = (5, 14)


@dataclass(frozen=True)
class Limits:
    """The limits of one run.

    Attributes
    ----------
    timeout_s : float
        Time in which it computes or waits, in seconds. If the processors are busy with other work,
        it may take up to ten times as long by the clock.
    cpu_s : int
        Processor time of all its threads, in seconds.
    memory_mb : int
        Address space, in MiB.
    threads : int
        Threads. It cannot create processes at all. The limit applies where the kernel counts
        threads separately: with bubblewrap, on Linux 5.14 or later, not as root. Elsewhere memory
        limits them.
    file_mb : int
        Largest file that it can write, in MiB. All files together may have 64 MiB with bubblewrap.
    output_kb : int
        How much it may print, in KiB, on each of its two streams.
    """

    timeout_s: float = 10.0
    cpu_s: int = 10
    memory_mb: int = 2048
    threads: int = 64
    file_mb: int = 16
    output_kb: int = 1024


def limits_of(timeout_s: float) -> Limits:
    """Return the usual limits with a different time limit, in seconds."""
    # Twice as much processor time, since a few threads may share the work.
    return Limits(timeout_s=timeout_s, cpu_s=math.ceil(2 * timeout_s))


@dataclass(frozen=True)
class Run:
    """One run of a program.

    Attributes
    ----------
    program : str
        Its source.
    kind : str
        ``script`` (as ``__main__``), ``tests`` (as the module ``solution``, then test code),
        ``pytest`` (the same, run by pytest) or ``calls`` (of its `entry_point`).
    stdin : str
        Its standard input.
    tests : str
        Test code, for ``tests`` and ``pytest``.
    entry_point : str
        The function that is tested; for ``calls`` also a method of a class ``Solution``.
    calls : str
        A JSON list of lists of arguments, for ``calls``.
    supplied : str
        Code that is run in the program's module before the program.
    """

    program: str
    kind: Literal["script", "tests", "pytest", "calls"] = "script"
    stdin: str = ""
    tests: str = ""
    entry_point: str = ""
    calls: str = "[]"
    supplied: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one run.

    Attributes
    ----------
    reason : str
        ``passed`` (it reached its end), ``failed`` (an assertion), ``error`` (an exception),
        ``exit_early`` (it ended itself), ``timeout``, ``memory``, ``output`` (too much),
        ``crash`` (a signal).
    detail : str
        One line for a person, or the results of ``calls`` as JSON. The program's process writes
        it, so never trust it.
    stdout, stderr : str
        What it printed, up to the limit.
    wall_s : float
        Duration, in seconds.
    level : str
        The level of the sandbox.
    """

    reason: Ending
    detail: str
    stdout: str
    stderr: str
    wall_s: float
    level: Level


def run_sandboxed(
    runs: Sequence[Run],
    limits: Limits,
    level: Level,
    *,
    total_s: float | None = None,
    stop_at_failure: bool = False,
) -> list[Outcome]:
    """Perform some runs, one after another, in one sandbox.

    Parameters
    ----------
    runs : sequence of Run
        They share only their scratch folder.
    limits : Limits
        Limits of each run.
    level : Level
        From :func:`find_level`.
    total_s : float, optional
        Time of all runs together, in seconds; by default the sum of their limits.
    stop_at_failure : bool
        End after the first run that does not reach its end.

    Returns
    -------
    list of Outcome
        One for each run that was started. Nothing of them remains: no process, no file.

    Raises
    ------
    SandboxError
        If the sandbox itself does not work.
    """
    if total_s is None:
        total_s = limits.timeout_s * len(runs)
    token = secrets.token_hex(TOKEN_BYTES // 2).encode()
    with contextlib.ExitStack() as stack:
        scratch = None
        if level != "bubblewrap":
            scratch = tempfile.mkdtemp(prefix="wmss-program-")
            stack.callback(_remove, scratch)
        head: Request = {
            "level": level,
            "runs": len(runs),
            "stop_at_failure": stop_at_failure,
            "total_s": total_s,
            "timeout_s": limits.timeout_s,
            "output_kb": limits.output_kb,
            "cpu_s": limits.cpu_s,
            "memory_mb": limits.memory_mb,
            "file_mb": limits.file_mb,
            "threads": limits.threads if _counts_threads_apart(level) else None,
            "import_path": import_path(),
            "readable": [*readable(), "/usr", "/bin", "/lib", "/lib64", *DEVICES],
            "writable": ["/dev/null"] if scratch is None else [scratch, "/dev/null"],
        }
        request = harness_code() + frame(head)
        request += b"".join(frame(_plain(run)) for run in runs) + token
        report, complaint = _start(
            python_command(level), request, scratch, PATIENCE * total_s + _GRACE_S
        )
    if not secrets.compare_digest(report[:TOKEN_BYTES], token):
        if complaint:
            raise SandboxError(f"the sandbox ({level}) does not work: {complaint}; see wmss doctor")
        # Killed without a message, by the kernel for lack of memory or by us for lack of an answer.
        return [Outcome("crash", "the sandbox was killed", "", "", total_s, level)]
    return [_outcome(one, level) for one in marshal.loads(report[TOKEN_BYTES:])]


@functools.cache
def reaches(level: Level) -> str:
    """Try a level with a program that attempts to read a secret file.

    Returns
    -------
    str
        Empty if it works, else what is wrong.
    """
    with tempfile.NamedTemporaryFile(prefix="wmss-secret-") as secret:
        program = f"try:\n    open({secret.name!r})\nexcept OSError:\n    print('hidden')"
        try:
            (outcome,) = run_sandboxed([Run(program)], Limits(), level)
        except (SandboxError, OSError) as error:
            return str(error)
    if outcome.reason != "passed":
        return f"a program does not run: {outcome.reason} {outcome.detail}"
    return "" if outcome.stdout == "hidden\n" or level == "none" else "files can be read"


def find_level(unsafe: bool = False) -> Level:
    """Return the safest level that works on this machine. It is tried once per process.

    Parameters
    ----------
    unsafe : bool
        Use ``none`` if nothing works, instead of refusing.

    Raises
    ------
    SandboxError
        If nothing works, and `unsafe` is not set.
    """
    problems = []
    for level in LEVELS if unsafe else LEVELS[:-1]:
        if not (problem := reaches(level)):
            return level
        problems.append(f"{level}: {problem}")
    told = "; ".join(problems)
    raise SandboxError(
        f"programs of models cannot be run safely on this machine ({told}); allow user "
        "namespaces (Linux 5.3 or later), or use Landlock (6.2 or later)"
    )


def _counts_threads_apart(level: Level) -> bool:
    kernel = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
    return level == "bubblewrap" and kernel >= _COUNTS_THREADS_APART


def _plain(run: Run) -> Program:
    return {
        "program": run.program,
        "kind": run.kind,
        # A lone surrogate, which JSON may contain, cannot be encoded.
        "stdin": run.stdin.encode(errors="replace"),
        "tests": run.tests,
        "entry_point": run.entry_point,
        "calls": run.calls,
        "supplied": run.supplied,
    }


def _start(
    command: list[str], request: bytes, scratch: str | None, timeout_s: float
) -> tuple[bytes, str]:
    """Start the sandbox, end all its processes, and return its report and its complaint.

    It uses files in memory instead of pipes, so nobody can block a reader or fill its memory.
    """
    with contextlib.ExitStack() as stack:
        stdin, stdout, stderr = (
            stack.enter_context(os.fdopen(os.memfd_create(name), "w+b"))
            for name in ("request", "report", "complaint")
        )
        stdin.write(request)
        stdin.flush()
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=_ENVIRONMENT,
                cwd=scratch or "/",
                start_new_session=True,
            )
        except OSError as error:
            return b"", f"{command[0]}: {error.strerror}"
        try:
            _wait(process.pid, timeout_s)
        finally:
            # The process is not reaped yet, so its group still has this number.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        complaint = stderr.read(4096).decode(errors="replace").strip().splitlines()
        return stdout.read(), complaint[-1] if complaint else ""


def _remove(folder: str) -> None:
    """Delete what a program left: folders without permissions, or nested too deeply for Python."""
    remove = ["rm", "-rf", folder]
    if subprocess.run(remove, stderr=subprocess.DEVNULL, check=False).returncode:
        subprocess.run(["chmod", "-R", "u+rwx", folder], stderr=subprocess.DEVNULL, check=False)
        subprocess.run(remove, check=True)


def _wait(process: int, timeout_s: float) -> None:
    handle = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        poll.poll(timeout_s * 1000)
    finally:
        os.close(handle)


def _outcome(report: Report, level: Level) -> Outcome:
    said, _, detail = report["result"].decode(errors="replace").partition("\n")
    status = report["status"]
    reason: Ending
    if report["timed_out"]:
        reason, detail = "timeout", ""
    elif report["too_long"]:
        reason, detail = "output", ""
    elif status < 0:
        reason, detail = "crash", f"signal {-status}"
    elif not said:
        reason, detail = "exit_early", f"exit code {status}"
    elif said not in _REASONS or (said == "passed" and status != 0):
        reason, detail = "crash", f"its result is not one of the harness: {said[:40]!r}"
    else:
        reason = cast(Ending, said)
    stdout = report["output"].decode(errors="replace")
    stderr = report["errors"].decode(errors="replace")
    return Outcome(reason, detail, stdout, stderr, report["wall_s"], level)
