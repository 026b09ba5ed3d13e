"""Attacks on the sandbox. Each prints HARM where it succeeds, and is shown to succeed outside."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wmss_cli.core.errors import SandboxError
from wmss_cli.programs import command, sandbox
from wmss_cli.programs.harness import PATIENCE
from wmss_cli.programs.sandbox import (
    Level,
    Limits,
    Outcome,
    Run,
    find_level,
    run_sandboxed,
)

pytestmark = pytest.mark.slow

SHORT = Limits(timeout_s=1.0, cpu_s=1, memory_mb=512, output_kb=64)
PATIENT = Limits(timeout_s=20.0)


def run(program: str, level: Level, limits: Limits = PATIENT) -> Outcome:
    (outcome,) = run_sandboxed([Run(program)], limits, level)
    assert outcome.level == level
    return outcome


PREAMBLE = """
import ctypes, os, resource, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None)
HOST, PORT, SECRET, FOLDER = {host}, {port}, {secret!r}, {folder!r}
print("begun", flush=True)
def attack():
    {attack}
try:
    harm = attack()
except (OSError, RuntimeError, EOFError) as error:
    harm = None
print("HARM" if harm else "no harm", flush=True)
"""

# What returns something true has done harm.
ATTACKS = {
    "read a file": "return open(SECRET).read()",
    "read by /proc/self/root": "return open('/proc/self/root' + SECRET).read()",
    "read through a link": "os.symlink(SECRET, 'link'); return open('link').read()",
    "read by another process's root": "return open(f'/proc/{HOST}/root{SECRET}').read()",
    "read the host's environment": "return open(f'/proc/{HOST}/environ').read(4)",
    "read the host's command line": "return open(f'/proc/{HOST}/cmdline').read(4)",
    "read the host's memory map": "return open(f'/proc/{HOST}/maps').read(4)",
    "list a folder": "return os.listdir(FOLDER)",
    "walk up from the current folder": (
        "up = '../' * 20; return 'root:' in open(up + 'etc/passwd').read()"
    ),
    "read the users": "return 'root:' in open('/etc/passwd').read()",
    "write a file": "return open(FOLDER + '/written', 'w').write('x')",
    "write through a link": "os.symlink(SECRET, 'link'); return open('link', 'a').write('x')",
    "append to a file": "return open(SECRET, 'a').write('x')",
    "empty a file": "os.truncate(SECRET, 0); return True",
    "empty a file as it is opened": "os.open(SECRET, os.O_RDONLY | os.O_TRUNC); return True",
    "delete a file": "os.unlink(SECRET); return True",
    "move a file": "os.rename(SECRET, FOLDER + '/moved'); return True",
    "make a hard link": "os.link(SECRET, FOLDER + '/hard'); return True",
    "make a folder": "os.mkdir(FOLDER + '/made'); return True",
    "change a file's rights": "os.chmod(SECRET, 0o777); return True",
    "change a file's times": "os.utime(SECRET, (0, 0)); return True",
    "mark a file": "os.setxattr(SECRET, 'user.mark', b'x'); return True",
    "write to shared memory": (
        "path = '/dev/shm/wmss-attack'; open(path, 'w').close(); os.unlink(path); return True"
    ),
    "connect to the host": "return socket.create_connection(('127.0.0.1', PORT), 2)",
    "send a datagram": (
        "return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))"
    ),
    "listen": "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); return True",
    "connect to a socket in a folder": (
        "s = socket.socket(socket.AF_UNIX); s.connect(FOLDER + '/socket'); return True"
    ),
    "connect to an abstract socket": (
        r"s = socket.socket(socket.AF_UNIX); s.connect(f'\0wmss-{HOST}-{PORT}'); return True"
    ),
    "fork": "pid = os.fork(); return pid or os._exit(0)",
    "fork by its number": "pid = libc.syscall(57 if os.uname().machine == 'x86_64' else 220, 17, 0,"
    " 0, 0, 0); return pid > 0 or (pid == 0 and os._exit(0))",
    "spawn": "return os.posix_spawn('/bin/true', ['true'], {}) > 0",
    "run a shell": "return b'x' in subprocess.check_output(['/bin/sh', '-c', 'echo x'])",
    "become another program": "os.execv('/bin/echo', ['echo', 'HARM'])",
    "leave a child behind": (
        "pid = os.fork()\n    if pid: return True\n    os.setsid(); time.sleep(1); os._exit(0)"
    ),
    "signal the parent": "os.kill(os.getppid(), 0); return True",
    "signal the host": "os.kill(HOST, 0); return True",
    "signal everybody": "os.kill(-1, 0); return True",
    "be traced": "return libc.ptrace(0, 0, 0, 0) == 0",
    "read memory of processes": "return libc.process_vm_readv(os.getpid(), 0, 0, 0, 0, 0) == 0",
    "have the kernel signal the host": (
        "import fcntl; r, w = os.pipe(); fcntl.fcntl(r, fcntl.F_SETOWN, HOST); return True"
    ),
    "slow the parent down": ("os.setpriority(os.PRIO_PROCESS, os.getppid(), 5); return True"),
    "limit the parent": "return resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
    "pin the host to a processor": (
        "mask = os.sched_getaffinity(0); os.sched_setaffinity(os.getppid(), mask); return True"
    ),
    "send a datagram from a pair": (
        "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "    return a.sendto(b'x', FOLDER + '/datagrams')"
    ),
    "outlive the parent": "return libc.prctl(1, 0, 0, 0, 0) == 0",
    "watch a folder": (
        "return libc.inotify_add_watch(libc.inotify_init(), FOLDER.encode(), 256) > 0"
    ),
    "make memory that no limit counts": "return os.memfd_create('attack') > 0",
    "leave System V memory behind": (
        "got = libc.shmget(0, 4096, 0o1600); libc.shmctl(got, 0, None); return got >= 0"
    ),
    "make a user namespace": "return libc.unshare(0x10000000) == 0",
}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[dict[str, object]]:
    """What attacks look for on the host: a file, a folder, a port, two sockets."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with (
            socket.socket(socket.AF_UNIX) as named,
            socket.socket(socket.AF_UNIX) as abstract,
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams,
        ):
            # The path may be longer than a socket's address can be.
            with_short_path = f"/proc/self/fd/{os.open(tmp_path, os.O_RDONLY)}"
            named.bind(f"{with_short_path}/socket")
            named.listen()
            datagrams.bind(f"{with_short_path}/datagrams")
            abstract.bind(f"\0wmss-{os.getpid()}-{port}")
            abstract.listen()
            yield {
                "host": os.getpid(),
                "port": port,
                "secret": str(secret),
                "folder": str(tmp_path),
            }


def state(folder: Path) -> dict[str, object]:
    """Return all that an attack could have changed under a folder."""
    return {
        path.name: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in folder.iterdir()
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_does_no_harm(
    attack: str, level: Level, host: dict[str, object], tmp_path: Path
) -> None:
    before = state(tmp_path)
    outcome = run(PREAMBLE.format(attack=ATTACKS[attack], **host), level)
    assert "begun" in outcome.stdout, outcome
    assert "HARM" not in outcome.stdout
    assert state(tmp_path) == before
    assert (tmp_path / "secret").read_text() == "secret"


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_attack_does_harm_outside(attack: str, host: dict[str, object]) -> None:
    outcome = run(PREAMBLE.format(attack=ATTACKS[attack], **host), "none")
    assert "HARM" in outcome.stdout, outcome


# What ends in a certain way, whatever else the program tries.
ENDINGS = {
    "sleep past the limit": ("import time; time.sleep(60)", "timeout"),
    "loop": ("while True: pass", "timeout"),
    "catch everything": (
        "while True:\n try:\n  raise SystemExit\n except BaseException: pass",
        "timeout",
    ),
    "ignore all signals": (
        "import signal\n"
        "for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:\n"
        " try: signal.signal(number, signal.SIG_IGN)\n except OSError: pass\n"
        "while True: pass",
        "timeout",
    ),
    "stop oneself": ("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "hang in native code": ("'a' * 30 == __import__('re').match('(a+)+b', 'a' * 40)", "timeout"),
    "loop at the end": ("import atexit\n@atexit.register\ndef f():\n while True: pass", "timeout"),
    "leave a thread behind": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=[60]).start()",
        "timeout",
    ),
    "read without end": ("import sys; sys.stdin.read()", "passed"),
    "print without end": ("while True: print('x' * 1000)", "output"),
    "complain without end": (
        "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
        "output",
    ),
    "print on, whatever happens": (
        "while True:\n try: print('x' * 1000)\n except BaseException: pass",
        "timeout",
    ),
    "eat memory": ("data = []\nwhile True: data.append(bytearray(2**20))", "memory"),
    "eat memory at once": ("bytearray(2**40)", "memory"),
    "fork without end": ("import os\nwhile True: os.fork()", "error"),
    "write a large file": (
        "with open('large', 'wb') as file:\n for _ in range(99): file.write(bytes(2**20))",
        "error",
    ),
    "open files without end": ("files = []\nwhile True: files.append(open('x', 'w'))", "error"),
    "recurse without end": ("def f(): f()\nf()", "error"),
    "raise one's limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "error",
    ),
    "crash": ("import ctypes; ctypes.string_at(0)", "crash"),
    "abort": ("import os; os.abort()", "crash"),
    "kill oneself": ("import os; os.kill(os.getpid(), 9)", "crash"),
    "close all files": ("import os; os.closerange(0, 256)", "exit_early"),
    "end early": ("import os; os._exit(0)", "exit_early"),
    "raise what cannot be shown": (
        "class E(Exception):\n def __str__(self): raise SystemExit(0)\nraise E",
        "error",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_in_time(ending: str, level: Level) -> None:
    program, reason = ENDINGS[ending]
    # A machine that stands still for a second must not be the reason.
    patient = dataclasses.replace(SHORT, timeout_s=20.0, cpu_s=20)
    limits = SHORT if reason == "timeout" else patient
    started = time.monotonic()
    outcome = run(program, level, limits)
    assert outcome.reason == reason, outcome
    # Others may hold the processors.
    assert time.monotonic() - started < PATIENCE * limits.timeout_s + 8.0
    assert len(outcome.stdout) <= SHORT.output_kb * 1024
    assert len(outcome.stderr) <= SHORT.output_kb * 1024


def named_processes(name: str) -> list[str]:
    """Return the processes and threads of this machine that call themselves so."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [str(comm)] * (comm.read_text().strip() == name)
        except OSError:  # it ended as we looked
            continue
    return found


def test_no_process_is_left(level: Level) -> None:
    name = f"wmss-{os.getpid()}"
    program = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}')\ntime.sleep(60)"
    seen = []

    def look() -> None:
        deadline = time.monotonic() + 10
        while not seen and time.monotonic() < deadline:
            seen.extend(named_processes(name))

    watcher = threading.Thread(target=look)
    watcher.start()
    assert run(program, level, Limits(timeout_s=2.0)).reason == "timeout"
    watcher.join()
    assert seen, "the process was never there"
    assert not named_processes(name)


def test_nothing_is_left_where_the_parent_is_killed(level: Level) -> None:
    name = f"wmss-k{os.getpid()}"
    program = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}')\ntime.sleep(60)"
    call = f"from wmss_cli.programs.sandbox import *\nrun_sandboxed([Run({program!r})], "
    parent = os.spawnv(
        os.P_NOWAIT,
        sys.executable,
        [sys.executable, "-c", f"{call}Limits(timeout_s=60), {level!r})"],
    )
    wait_for(lambda: bool(named_processes(name)))
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    wait_for(lambda: not named_processes(name))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_bomb_of_threads_is_contained(level: Level) -> None:
    program = (
        "import threading, time\nthreading.stack_size(2**20)\ncount = 0\n"
        "try:\n while True:\n"
        "  threading.Thread(target=time.sleep, args=[60], daemon=True).start(); count += 1\n"
        "except (RuntimeError, MemoryError): print(count)"
    )
    outcome = run(program, level, Limits(timeout_s=10.0, memory_mb=256, threads=32))
    # Where memory ends while a thread starts, Python waits for that thread until its time is over.
    assert outcome.reason == "timeout" or 0 < int(outcome.stdout) < 256


def test_small_files_fill_a_small_disk_only(level: Level) -> None:
    if level != "bubblewrap":
        pytest.skip("the scratch folder of this level is on a disk of the host")
    program = "for i in range(99): open(f'{i}', 'wb').write(bytes(2**20))"
    outcome = run(program, level)
    assert "No space left" in outcome.detail


@pytest.mark.parametrize("result", ["correct", "passed", "broken", "", "\udcff"])
def test_a_result_of_the_program_is_not_believed(result: str, level: Level) -> None:
    text = result.encode(errors="surrogateescape")
    outcome = run(f"import os\nos.pwrite(3, {text!r}, 0)\nos._exit(7)", level)
    assert outcome.reason in ("crash", "exit_early")


@pytest.mark.parametrize(
    "program", ["print('\0')", "print('\ud800')", "\ufeffprint(1)", "(" * 9999]
)
def test_odd_programs_are_only_wrong(program: str, level: Level) -> None:
    assert run(program, level).reason in ("error", "memory", "passed")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nos.mkdir('x'); open('x/y', 'w').close(); os.mkdir('x/z', 0); os.umask(0o777)\n"
        "os.mkdir('locked'); os.symlink('/', 'root')",
        "import os\nfor _ in range(3000): os.mkdir('deep'); os.chdir('deep')",
    ],
)
def test_no_file_is_left(
    program: str, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run(program, level).reason == "passed"
    assert list(tmp_path.iterdir()) == []


def test_python_itself_can_be_read_but_not_changed(level: Level) -> None:
    program = (
        "import json, numpy, os, sys\n"
        "for path in (json.__file__, numpy.__file__, os.path.realpath(sys.executable)):\n"
        " assert open(path, 'rb').read(1); print('read')\n"
        " for place in (path, os.path.dirname(path) + '/new.py'):\n"
        "  try: open(place, 'ab'); print('HARM')\n"
        "  except OSError: pass"
    )
    assert run(program, level).stdout == "read\n" * 3


READ_OWN_MEMORY = r"""
import ctypes, re
ctypes.CDLL(None).prctl(4, 1)  # open again what the supervisor had closed
read, found = input(), set()
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
    for line in maps:
        start, end, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
        if rights.startswith("rw"):
            try:
                memory.seek(int(start, 16))
                data = memory.read(int(end, 16) - int(start, 16))
            except OSError:
                continue
            # Patterns that do not match themselves.
            found |= set(re.findall(b"[0]123456789abcdeffedcba9876543210|[w]hat it reads", data))
print(sorted(found))
"""


def test_no_runner_holds_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0123456789abcdeffedcba9876543210")
    (outcome,) = run_sandboxed([Run(READ_OWN_MEMORY, stdin="what it reads\n")], PATIENT, "none")
    assert outcome.stdout == "[b'what it reads']\n", outcome


def test_runs_do_not_see_each_other(level: Level) -> None:
    runs = [Run("import sys; sys.secret = 1; x = 1"), Run("import sys; sys.secret")]
    outcomes = run_sandboxed(runs, PATIENT, level)
    assert [o.reason for o in outcomes] == ["passed", "error"]


def test_all_runs_share_a_limit(level: Level) -> None:
    # A busy machine wakes a program late: there are two seconds for that.
    runs = [Run("import time; time.sleep(3)")] * 5
    outcomes = run_sandboxed(runs, PATIENT, level, total_s=5.0, stop_at_failure=True)
    assert [o.reason for o in outcomes] == ["passed", "timeout"]


def test_a_limit_of_processor_time_is_a_timeout(level: Level) -> None:
    limits = Limits(timeout_s=30.0, cpu_s=1)
    ignores = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
    for program in ("while True: pass", f"{ignores}while True: pass"):
        assert run(program, level, limits).reason == "timeout"
    assert run("import os; os.kill(os.getpid(), 9)", level, limits).reason == "crash"


BUSY = 4


def test_a_busy_machine_changes_no_verdict(level: Level) -> None:
    begin = "import time\nstart = time.process_time()\n"
    limits = Limits(timeout_s=1.0, cpu_s=2)
    loop = [sys.executable, "-S", "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(BUSY * (os.cpu_count() or 1) // 2)]
    try:
        computing = run(f"{begin}while time.process_time() < start + 0.6: pass", level, limits)
        endless = run("while True: pass", level, limits)
        waiting = run("import time; time.sleep(60)", level, limits)
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert [o.reason for o in (computing, endless, waiting)] == ["passed", "timeout", "timeout"]


# What programs may do; a sandbox in which nothing works would pass all that stands above.
HARMLESS = {
    "print": "print('harmless')",
    "read its input": "assert input() == 'line'; print('harmless')",
    "read its input by its path": (
        "import pathlib\nassert open('/dev/stdin').read() == 'line\\n'\n"
        "assert pathlib.Path('/dev/stdin').read_text().strip() == input(); print('harmless')"
    ),
    "print long integers": (
        "text = str(7**20000); assert int(text) == 7**20000 and len(text) == 16902\n"
        "print('harmless')"
    ),
    "use its folder": (
        "import os, shutil, tempfile\nos.mkdir('a'); open('a/b', 'w').write('harmless')\n"
        "os.symlink('a/b', 'c'); os.rename('c', 'd'); print(open('d').read()); shutil.rmtree('a')\n"
        "with tempfile.TemporaryDirectory() as folder: open(folder + '/x', 'w')"
    ),
    "use threads": (
        "import threading\nt = threading.Thread(target=print, args=['harmless'])\n"
        "t.start(); t.join()"
    ),
    "use asyncio": (
        "import asyncio\nasync def f(): await asyncio.sleep(0.01); print('harmless')\n"
        "asyncio.run(f())"
    ),
    "use numpy": "import numpy; assert numpy.ones((9, 9)).dot(numpy.ones(9)).sum() == 81\n"
    "print('harmless')",
    "use the standard library": (
        "import bisect, collections, dataclasses, datetime, decimal, fractions, functools, heapq\n"
        "import hashlib, itertools, json, math, random, re, sqlite3, statistics, string, typing\n"
        "import unittest, zoneinfo; print('harmless')"
    ),
    "exit": "print('harmless')\nexit()",
    "be a script": "if __name__ == '__main__': print('harmless')",
    "be pickled": (
        "import pickle\nclass A: pass\nassert isinstance(pickle.loads(pickle.dumps(A())), A)\n"
        "print('harmless')"
    ),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_program_runs(name: str, level: Level) -> None:
    (outcome,) = run_sandboxed([Run(HARMLESS[name], stdin="line\n")], PATIENT, level)
    assert (outcome.reason, outcome.stdout) == ("passed", "harmless\n"), outcome


def test_a_set_has_the_same_order_each_time(level: Level) -> None:
    program = "print({str(i) for i in range(100)})"
    assert run(program, level).stdout == run(program, level).stdout


def test_a_level_works_here() -> None:
    assert find_level() in ("bubblewrap", "landlock")


def test_without_a_level_programs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "reaches", lambda level: "" if level == "none" else "forbidden")
    with pytest.raises(SandboxError, match=r"bubblewrap: forbidden.*allow user namespaces"):
        find_level()
    assert find_level(unsafe=True) == "none"


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = ["/bin/sh", "-c", "echo bwrap: No permissions >&2; exit 1"]
    monkeypatch.setattr(command, "bubblewrap_command", lambda _: refuse)
    with pytest.raises(SandboxError, match="bwrap: No permissions; see wmss doctor"):
        run("print()", "bubblewrap")


def test_a_report_without_the_token_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "bubblewrap_command", lambda _: ["/bin/echo", "x" * 99])
    assert run("print()", "bubblewrap").reason == "crash"
