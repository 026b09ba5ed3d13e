"""How a worker ends, and what it says about it, also where the disk has no room for it."""

from __future__ import annotations

import codecs
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from wmss_cli.core.errors import DataError, InterruptedRunError
from wmss_cli.launch import worker

STOPPED = """\
import os, signal, sys, time, weakref
from pathlib import Path
from wmss_cli.launch.worker import run

class Thing:
    pass

class Closing:
    def __init__(self, close):
        self.close = close

    def __del__(self):
        self.close()

def stopped(*_):
    os.kill(os.getpid(), signal.SIGUSR2)
    time.sleep(60)

def work():
{work}
    time.sleep(60)
    print("went on")

sys.exit(run(work, Path(sys.argv[1])))
"""
# As logging, and imports of what may be missing, catch whatever is raised while they work.
CATCHING = """\
    try:
        stopped()
    except Exception:
        pass
"""
# Python only reports what is raised in these.
DELETING = "    Closing(stopped)"
CALLING_BACK = """\
    thing = Thing()
    kept = weakref.ref(thing, stopped)
    del thing
"""
# While it ends, something else fails where Python only reports it: that is no second stop.
CLEANING_UP = """\
    try:
        stopped()
    finally:
        Closing(lambda: [].pop())
        time.sleep(0.5)
        print("cleaned up")
"""


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the signals of this process, and how it ends, as they are."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(worker, "ends_by", lambda _: None)
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)


def test_a_full_disk_has_room_for_the_report(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("256k")

    def fill() -> None:
        with (disk / "rest").open("wb", buffering=0) as rest:
            while True:
                rest.write(b"x" * 512)

    assert worker.run(fill, disk) == 5
    report = worker.read_error(disk)
    assert report is not None
    assert report["message"] == "the disk is full; free some space or choose another --out"
    assert "OSError: [Errno 28]" in report["traceback"]


def test_a_report_that_was_cut_off_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "error-00000.json").touch()
    assert worker.read_error(tmp_path) is None

    def fail() -> None:
        raise DataError("no records; check the file")

    monkeypatch.setenv("RANK", "1")
    assert worker.run(fail, tmp_path) == 5
    report = worker.read_error(tmp_path)
    assert report is not None
    assert report["message"] == "no records; check the file"


def test_what_went_well_leaves_nothing(tmp_path: Path) -> None:
    assert worker.run(lambda: None, tmp_path) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("work", [CATCHING, DELETING, CALLING_BACK])
def test_a_signal_ends_work_that_catches_exceptions_or_finalizes(work: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED.format(work=work), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == InterruptedRunError.exit_code, done.stderr
    assert done.stdout == ""
    report = json.loads((tmp_path / "error-00000.json").read_text())
    assert report["message"] == "stopped by SIGUSR2; the same command continues"


def test_what_a_stop_has_begun_is_not_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STOPPED.format(work=CLEANING_UP), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == InterruptedRunError.exit_code, done.stderr
    assert "pop from empty list" in done.stderr
    assert done.stdout == "cleaned up\n"


def through_a_codec() -> None:
    """Be stopped while a text is decoded: Python rewords plain exceptions that come from there."""

    def decode(_text: bytes, _errors: str = "strict") -> tuple[str, int]:
        raise worker._Stopped(signal.SIGTERM)

    codecs.register(
        lambda name: codecs.CodecInfo(decode, decode, name=name) if name == "stopping" else None
    )
    b"x".decode("stopping")


def through_a_library() -> None:
    """Be stopped within a call that makes an error of its own of every error."""
    try:
        raise worker._Stopped(signal.SIGTERM)
    except BaseException as error:
        raise RuntimeError("cannot read") from error


@pytest.mark.parametrize("work", [through_a_codec, through_a_library])
def test_a_stop_is_told_as_one_wherever_it_comes_through(
    work: Callable[[], None], tmp_path: Path
) -> None:
    assert worker.run(work, tmp_path) == InterruptedRunError.exit_code
    report = worker.read_error(tmp_path)
    assert report is not None
    assert report["message"] == "stopped by SIGTERM; the same command continues"
