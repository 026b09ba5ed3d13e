"""Closing what os._exit would leave open."""

from __future__ import annotations

import threading

import pytest

from wmss_cli.core import process_end
from wmss_cli.core.process_end import at_end, close_all


def test_the_last_is_closed_first_and_once() -> None:
    closed: list[int] = []
    for number in range(3):
        at_end(lambda number=number: closed.append(number))  # type: ignore[misc]
    close_all()
    close_all()
    assert closed == [2, 1, 0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_fails_or_hangs_keeps_nothing_from_being_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_end, "_PATIENCE_S", 0.05)
    closed: list[str] = []
    never = threading.Event()

    def fail() -> None:
        raise RuntimeError("it is gone already")

    at_end(lambda: closed.append("first"))
    at_end(fail)
    at_end(never.wait)
    close_all()
    assert closed == ["first"]
    never.set()
