"""The code inside the sandbox: a supervisor, and a runner for each run of the program.

The supervisor never runs foreign code. For each run it forks a runner, which gives up its rights
and runs the program. The runner has no pipes: its input and output are files in memory. The
supervisor ends it at the time limit, and finally reports all runs with a token that it reads only
then, so that no runner ever had it.

Each program pays for a start, so this imports nothing that takes milliseconds (json, re, typing).
"""

from __future__ import annotations

import builtins
import marshal
import os
import select
import sys
import time
from types import FunctionType, ModuleType

from wmss_cli.programs import confine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class Request(TypedDict):
        """Settings for all runs of a sandbox."""

        level: str
        runs: int
        stop_at_failure: bool
        total_s: float
        timeout_s: float
        output_kb: int
        cpu_s: int
        memory_mb: int
        file_mb: int
        threads: int | None
        import_path: list[str]
        readable: list[str]
        writable: list[str]

    class Program(TypedDict):
        """One run: the fields of :class:`wmss_cli.programs.sandbox.Run`."""

        program: str
        kind: str
        stdin: bytes
        tests: str
        entry_point: str
        calls: str
        supplied: str

    class Report(TypedDict):
        """How a run ended, and what it wrote."""

        status: int
        timed_out: bool
        wall_s: float
        used_s: float
        too_long: bool
        result: bytes
        output: bytes
        errors: bytes


TOKEN_BYTES = 32
_RESULT_FD = 3
_SIGKILL, _SIGXCPU = 9, 24
PATIENCE = 10
"""Factor by which a run may exceed its limit while the processors are busy with others."""
# Interval at which used time is read; below this share of computing, the run is waiting.
_LOOK_S = 0.5
_COMPUTING = 0.05
_PROGRAM_FILE = "solution.py"
_TESTS_FILE = "test_solution.py"
_INPUT_FILE = ".stdin"  # the target of /dev/stdin if there is no /proc
_DETAIL_CHARACTERS = 300


def main() -> None:
    """Read a request from the standard input, perform its runs, and write the report."""
    confine.hide_memory()
    confine.die_with_parent()
    request = _read_frame()
    sys.path[:] = request["import_path"]
    reports: list[Report] = []
    left_s = request["total_s"]
    for _ in range(request["runs"]):
        run = _read_frame()
        reports.append(_supervise(run, request, min(request["timeout_s"], left_s)))
        left_s -= reports[-1]["used_s"]
        if reports[-1]["status"] != 0 and request["stop_at_failure"]:
            break
    os.lseek(0, -TOKEN_BYTES, os.SEEK_END)
    _write_all(1, os.read(0, TOKEN_BYTES) + marshal.dumps(reports))
    os._exit(0)  # a normal exit would take as long as everything else


def frame(value: Request | Program) -> bytes:
    """Return a part of a request. Both ends run the same Python, so marshal is enough."""
    data = marshal.dumps(value)  # type: ignore[arg-type]  # mypy: a TypedDict is not a dict
    return len(data).to_bytes(8, "little") + data


def _read_frame() -> Any:
    return marshal.loads(_read(int.from_bytes(_read(8), "little")))


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        assert part, "the request is cut off"
        data += part
    return data


def _supervise(run: Program, request: Request, timeout_s: float) -> Report:
    """Perform one run in a process of its own, and report how it ended."""
    files = [os.memfd_create(name) for name in ("input", "result", "output", "errors")]
    _write_all(files[0], run["stdin"])
    os.lseek(files[0], 0, os.SEEK_SET)
    started = time.monotonic()
    runner = os.fork()
    if runner == 0:
        _be_runner(run, request, files)
    timed_out, used_s = _wait(runner, timeout_s)
    if timed_out:
        os.kill(runner, _SIGKILL)
    _, status, used = os.wait4(runner, 0)
    cpu_s = used.ru_utime + used.ru_stime
    code = os.waitstatus_to_exitcode(status)
    limit = request["output_kb"] * 1024
    too_long = any(os.fstat(file).st_size > limit for file in files[1:])
    result, output, errors = (os.pread(file, limit, 0) for file in files[1:])
    for file in files:
        os.close(file)
    return {
        "status": code,
        "timed_out": timed_out or code == -_SIGXCPU or cpu_s >= request["cpu_s"],
        "wall_s": time.monotonic() - started,
        "used_s": used_s,
        "too_long": too_long,
        "result": result,
        "output": output,
        "errors": errors,
    }


def _wait(process: int, limit_s: float) -> tuple[bool, float]:
    """Wait until a process ends or has used its time; return whether it has, and how much it used.

    Time counts while it computes, or waits for something other than a processor. A machine that is
    busy, or that stood still for longer than this process slept, is not held against the program.
    """
    handle = os.pidfd_open(process)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    clock = ~process << 3 | 2  # a process's CPU clock, as in clock_getcpuclockid
    used_s = cpu_s = 0.0
    last = time.monotonic()
    deadline = last + PATIENCE * limit_s
    while True:
        look_s = min(max(limit_s - used_s, 0.0), _LOOK_S)
        ended = poll.poll(look_s * 1000)
        now = time.monotonic()
        wall_s, last = now - last, now
        try:
            before_s, cpu_s = cpu_s, time.clock_gettime(clock)
            computed_s = cpu_s - before_s
        except OSError:  # the process has just ended
            computed_s = wall_s
        used_s += min(wall_s, computed_s if computed_s >= _COMPUTING * wall_s else look_s)
        if ended or used_s >= limit_s or now >= deadline:
            os.close(handle)
            return not ended, used_s


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


# The runner.


def _be_runner(run: Program, request: Request, files: list[int]) -> None:
    """Confine this process, run the program, and end. Foreign code begins in `_run`."""
    # Taken now, since the program may replace these functions.
    end, truncate, write = os._exit, os.ftruncate, os.pwrite
    outcome, detail = "crash", ""
    try:
        confine.die_with_parent()
        _take_files(files)
        _confine(request)
        for name in [name for name in sys.modules if name.startswith("wmss_cli")]:
            del sys.modules[name]
        sys.argv = [_PROGRAM_FILE]
        outcome, detail = _run(run)
    except BaseException as error:
        detail = _describe(error)
    finally:
        try:
            truncate(_RESULT_FD, 0)
            write(_RESULT_FD, f"{outcome}\n{detail}".encode(errors="replace"), 0)
        finally:  # so that it never continues as the supervisor, whatever the program did
            end(0 if outcome == "passed" else 1)


def _take_files(files: list[int]) -> None:
    """Make files 0 to 3 those of this run, and close all others."""
    copies = [os.dup(file) for file in files]
    for number, copy in zip((0, _RESULT_FD, 1, 2), copies, strict=True):
        os.dup2(copy, number)
    os.closerange(_RESULT_FD + 1, 1024)


def _confine(request: Request) -> None:
    memory_mb, file_mb, threads = request["memory_mb"], request["file_mb"], request["threads"]
    confine.limit_resources(request["cpu_s"], memory_mb, file_mb, threads)
    if request["level"] == "none":
        return
    confine.gain_no_privileges()
    if request["level"] == "landlock":
        confine.drop_capabilities()
        confine.restrict_files(request["readable"], request["writable"])
    confine.filter_system_calls(shares_files=request["level"] == "landlock")


def _run(run: Program) -> tuple[str, str]:
    """Run the program as requested; return how it ended, and why."""
    # Programs call exit(), which the module site would have added.
    import site

    site.setquit()
    clean = dict(vars(builtins))
    _write_file(_PROGRAM_FILE, run["program"].encode(errors="replace"))
    _write_file(_INPUT_FILE, run["stdin"])
    kind = run["kind"]
    try:
        if kind == "script":
            _run_script(run)
        elif kind == "calls":
            return "passed", _call_all(run)
        elif kind == "pytest":
            return _run_pytest(run, clean)
        else:
            _execute(run, "solution")
            _run_tests(run, clean)
    except SystemExit as error:
        if kind == "script" and error.code in (None, 0):
            return "passed", ""
        return "exit_early", _describe(error)
    except MemoryError as error:
        return "memory", _describe(error)
    except AssertionError as error:
        return "failed", _describe(error)
    except BaseException as error:
        return "error", _describe(error)
    finally:
        _flush()
    return "passed", ""


def _write_file(name: str, data: bytes) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    _write_all(file, data)
    os.close(file)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:  # a program may have replaced them by anything
            continue


def _run_script(run: Program) -> None:
    """Run a program as Python does, including its threads, exit handlers and open files."""
    try:
        _execute(run, "__main__")
    finally:
        if "threading" in sys.modules:
            sys.modules["threading"]._shutdown()
        if "atexit" in sys.modules:
            sys.modules["atexit"]._run_exitfuncs()
        # Files that it left open are flushed when they are deleted.
        sys.modules["__main__"].__dict__.clear()


def _execute(run: Program, name: str) -> dict[str, Any]:
    """Run a program as the module `name`, after the supplied code; return its names."""
    module = ModuleType(name)
    module.__file__ = _PROGRAM_FILE
    sys.modules[name] = module
    exec(compile(run["supplied"], "supplied.py", "exec", dont_inherit=True), module.__dict__)
    exec(compile(run["program"], _PROGRAM_FILE, "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def _imports(run: Program, clean: dict[str, Any]) -> str:
    """Return the beginning of a test file: all names of the program, except Python's own.

    Of 100 test files of KodCode, 39 import nothing from the program. If a program defines ``abs``,
    the tests must not use that, unless they test it.
    """
    sys.modules["plain_builtins"] = plain = ModuleType("plain_builtins")
    plain.__dict__.update(clean)
    line = "from solution import *; from plain_builtins import *\n"
    if run["entry_point"].isidentifier():
        line += f"try: from solution import {run['entry_point']}\nexcept ImportError: pass\n"
    return line


def _test_file(run: Program, clean: dict[str, Any]) -> str:
    """Return the tests after the import of the program; only future imports come before it."""
    lines = run["tests"].splitlines(keepends=True)
    first = 0
    for number, line in enumerate(lines):
        if line.startswith("from __future__ "):
            first = number + 1
    return "".join(lines[:first]) + _imports(run, clean) + "".join(lines[first:])


def _run_tests(run: Program, clean: dict[str, Any]) -> None:
    """Run test code and its functions ``test…``, as pytest would."""
    # The tests have their own builtins, which the program cannot have changed.
    names: dict[str, Any] = {"__name__": "test_solution", "__builtins__": clean}
    exec(compile(_test_file(run, clean), _TESTS_FILE, "exec", dont_inherit=True), names)
    for name, value in list(names.items()):
        defined_here = isinstance(value, FunctionType) and value.__globals__ is names
        if defined_here and name.startswith("test"):
            value()


def _run_pytest(run: Program, clean: dict[str, Any]) -> tuple[str, str]:
    _write_file(_TESTS_FILE, _test_file(run, clean).encode(errors="replace"))
    _write_file("pytest.ini", b"")  # so that pytest does not search further for one
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    import pytest

    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    options += ["-p", "no:faulthandler", "-c", "pytest.ini"]
    skips = _Skips()
    code = pytest.main([*options, _TESTS_FILE], plugins=[skips])
    if skips.count and "skip" not in run["tests"] and "xfail" not in run["tests"]:
        return "failed", "the program skipped a test"
    return ("passed" if code == 0 else "failed"), f"pytest ended with {int(code)}"


class _Skips:
    """Counts tests that were skipped while they ran."""

    count = 0

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.count += report.when == "call" and report.outcome == "skipped"


def _call_all(run: Program) -> str:
    """Call the entry point with the arguments of each case; return the results as JSON."""
    import json

    names = _execute(run, "solution")
    # Converted at once, since the next call may change the result.
    results = [
        json.dumps(_entry_point(names, run["entry_point"])(*case), default=_plain)
        for case in json.loads(run["calls"])
    ]
    return f"[{', '.join(results)}]"


def _entry_point(names: dict[str, Any], name: str) -> Any:
    """Find a function, or a method of ``Solution``, as on sites for programming tasks."""
    solution = names.get("Solution")
    if isinstance(solution, type) and hasattr(solution, name):
        return getattr(solution(), name)
    return names[name]


def _plain(value: Any) -> Any:
    """Return a numpy number or array as JSON types."""
    return value.tolist()


def _describe(error: BaseException) -> str:
    """Return the exception in one line, with the last line of the program that it passed."""
    try:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    except BaseException:  # the program's exception may itself raise
        text = type(error).__name__
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _PROGRAM_FILE:
            place = f" ({_PROGRAM_FILE}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return text[:_DETAIL_CHARACTERS] + place
