"""What a stage has started ends with it, however it ends: a tree like that of an engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wmss_cli.launch.worker import end_session

STAGE = """
import subprocess, sys, time
from pathlib import Path
from wmss_cli.core.process_end import at_end
from wmss_cli.launch import worker

ENGINE = '''
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
gpu = subprocess.Popen(["sleep", "300"])
print(os.getpid(), gpu.pid, flush=True)
time.sleep(300)
'''

def work():
    engine = subprocess.Popen([sys.executable, "-c", ENGINE], stdout=subprocess.PIPE, text=True)
    tracker = "import time; time.sleep(60)", "multiprocessing.resource_tracker"
    tracker = subprocess.Popen([sys.executable, "-c", *tracker])
    at_end(lambda: print("shut down", flush=True))
    # The test may send its signal from here on.
    print(engine.stdout.readline().strip(), tracker.pid, flush=True)
    how = sys.argv[1]
    if how == "error":
        raise ValueError("no more memory")
    while how == "signal":
        time.sleep(0.05)

worker.leave(worker.run(work, Path(sys.argv[2])))
"""


def is_there(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pids: list[int]) -> bool:
    deadline = time.monotonic() + 5
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_there, pids))


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [
        ("end", None, 0),
        ("error", None, 70),
        ("signal", signal.SIGTERM, 130),
        ("signal", signal.SIGKILL, -9),
    ],
)
def test_an_engine_s_processes_end_with_the_stage(
    how: str, number: int | None, code: int, tmp_path: Path
) -> None:
    stage = subprocess.Popen(
        [sys.executable, "-c", STAGE, how, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # As the launcher starts it.
        start_new_session=True,
    )
    assert stage.stdout is not None
    *engine, tracker = map(int, stage.stdout.readline().split())
    assert len(engine) == 2
    if number is not None:
        assert all(map(is_there, engine)), "they run while the stage does"
        os.kill(stage.pid, number)
    assert stage.wait() == code
    if code >= 0:
        assert stage.stdout.readline() == "shut down\n", "what it has opened is closed before"
    else:
        assert all(map(is_there, engine)), "it could not end them itself"
        end_session(stage.pid)
    assert gone(engine)
    assert is_there(tracker), "what removes shared memory ends by itself, after the others"
    os.kill(tracker, signal.SIGKILL)
    stage.stdout.close()
