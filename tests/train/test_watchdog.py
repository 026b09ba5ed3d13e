"""Which rank is named when ranks hang, and when none is."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from wmss_cli.core.errors import HangError
from wmss_cli.train.watchdog import Place, Watchdog

LIMIT_S = 600.0


def place(age_s: float, collectives: int, beats: int = 0, patient: bool = False) -> Place:
    at = "packed.py:88, forward"
    return Place(1, age_s, patient, (collectives, beats), 41, f"gpu{collectives}", at)


def judged(*places: Place, silent_s: dict[int, float] | None = None) -> str | None:
    """Return what is said of these ranks."""
    watchdog = Watchdog(0, len(places), LIMIT_S)
    silent = dict.fromkeys(range(len(places)), 1.0) | (silent_s or {})
    error = watchdog._judge(dict(enumerate(places)), silent)
    return None if error is None else str(error)


def test_no_rank_is_named_while_all_continue() -> None:
    assert judged(place(599, 7), place(10, 8)) is None
    # Saving, exporting and loading may take hours.
    assert judged(place(3000, 7, patient=True), place(3000, 7, patient=True)) is None


def test_the_rank_that_the_others_wait_for_is_named() -> None:
    said = judged(place(605, 9), place(590, 8), place(604, 9))
    assert said == (
        "rank 1 (host gpu8, at packed.py:88, forward) has not answered for 10 min, since step 41; "
        "the same command continues from the last checkpoint"
    )
    # The same collective, but fewer micro-batches.
    said = judged(place(605, 9, beats=4), place(590, 9, beats=4), place(604, 9, beats=3))
    assert str(said).startswith("rank 2 ")


def test_who_waits_patiently_is_not_behind() -> None:
    said = judged(place(700, 3, patient=True), place(601, 9), place(700, 3, patient=True))
    assert str(said).startswith("rank 1 ")


def test_a_rank_whose_thread_is_silent_is_behind_whatever_it_said() -> None:
    said = judged(place(1, 9), place(1, 9, patient=True), silent_s={1: 700.0})
    assert str(said).startswith("rank 1 ")
    assert judged(place(1, 9), place(1, 9), silent_s={1: LIMIT_S}) is None
    # It stopped in the collective in which the other waits.
    said = judged(place(601, 9), place(3, 9), silent_s={1: 598.0})
    assert str(said).startswith("rank 1 ")


@pytest.mark.parametrize("ranks", [2, 3])
def test_where_all_are_at_the_same_place_none_is_blamed(ranks: int) -> None:
    said = str(judged(*(place(605, 9) for _ in range(ranks))))
    assert said.startswith(
        f"none of the {ranks} ranks has made progress for 10 min, since step 41;"
    )


RANK = """
import time
from wmss_cli.train.watchdog import Watchdog
watchdog = Watchdog(0, 1, {limit_s})
watchdog.start()
with watchdog.strict():
    print("continues", flush=True)
    for _ in range(40):
        watchdog.beat()
        time.sleep(0.05)
    time.sleep({hang_s})
"""


def started(limit_s: float, hang_s: float) -> subprocess.Popen[str]:
    script = RANK.format(limit_s=limit_s, hang_s=hang_s)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", script], text=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "continues\n"
    return process


@pytest.mark.slow
def test_a_process_that_was_suspended_is_not_late() -> None:
    process = started(limit_s=1.0, hang_s=0.0)
    process.send_signal(signal.SIGSTOP)
    time.sleep(3.0)
    process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


@pytest.mark.slow
def test_one_process_alone_ends_too() -> None:
    process = started(limit_s=1.0, hang_s=500.0)
    _, said = process.communicate(timeout=60)
    assert process.returncode == HangError.exit_code
    assert "rank 0 (host " in said
    assert "in <module>" in said, "where it hangs"
