"""Progress: plain lines without a terminal, bars on one."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from wmss_cli.cli import display
from wmss_cli.cli.display import Display, detail, duration
from wmss_cli.cli.tables import number, summary
from wmss_cli.core.manifest import Manifest
from wmss_cli.core.progress import Progress


def progress(done: int, **metrics: float) -> Progress:
    return Progress(
        unit="steps",
        done=done,
        total=40,
        resumed_at=0,
        metrics=metrics,
        started=100.0,
        updated=130.0,
    )


def show(terminal: bool, *states: Progress | None) -> str:
    """Show a stage that goes through some states and ends."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, legacy_windows=False)
    shown = Display(console)
    with shown.stage("sft") as watch:
        for state in states:
            watch(state)
    shown.finished("sft", 245.0, "loss 1.500")
    shown.skipped("joint")
    return file.getvalue()


def test_plain_lines_without_a_terminal() -> None:
    text = show(False, None, progress(10, loss=1.5))
    assert text.splitlines() == [
        "sft: started",
        "sft: done in 4:05 min, loss 1.500",
        "joint: done before",
    ]


def test_a_long_stage_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_PLAIN_EVERY_S", 0.0)
    text = show(False, None, progress(10, loss=1.5, tokens_per_s=1234.5), progress(40))
    assert text.splitlines()[1:3] == [
        "sft: 10/40 steps, loss 1.500, 1,234 tok/s, 1:30 min left",
        "sft: 40/40 steps",
    ]
    assert "\x1b" not in text


LIVE = {
    "loss": 1.5,
    "tokens_per_s": 1234.5,
    "mfu": 0.433,
    "share_of_limit": 0.641,
    "peak_memory_gb": 61.23,
    "seconds_left": 75.0,
}


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (None, "loss 1.500, 1,234 tok/s, MFU 43%, 64% of attainable, 61.2 GB, 1:15 min left"),
        (75, "loss 1.500, 1,234 tok/s, MFU 43%, 64% of attainable, 61.2 GB, 1:15 min left"),
        (74, "loss 1.500, 1,234 tok/s, MFU 43%, 64% of attainable, 1:15 min left"),
        (55, "loss 1.500, 1,234 tok/s, MFU 43%, 1:15 min left"),
        (45, "loss 1.500, 1,234 tok/s, 1:15 min left"),
        (30, "loss 1.500, 1:15 min left"),
        (3, "loss 1.500, 1:15 min left"),
    ],
)
def test_what_matters_most_is_said_where_there_is_little_room(width: int | None, text: str) -> None:
    assert detail(progress(10, **LIVE), width) == text


@pytest.mark.parametrize("label", ["sft", "joint-train", "joint-continued-sft"])
def test_a_bar_fits_on_a_terminal_of_80_columns(label: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    with Display(console).stage(label) as watch:
        watch(progress(10, **LIVE))
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert "1:15 min left" in plain, "nothing is cut off"
    assert "…" not in plain


def test_bars_on_a_terminal() -> None:
    text = show(True, None, progress(10, loss=1.5))
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text)
    assert "10/40" in plain
    assert "loss 1.500, 1:30 min left" in plain
    assert "✓ sft: done in 4:05 min" in plain
    assert "✓ joint: done before" in plain
    assert "sft: started" not in plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (8.3, "8.3 s"),
        (59.96, "1:00 min"),
        (60, "1:00 min"),
        (245, "4:05 min"),
        (3599.7, "1:00:00 h"),
        (7800, "2:10:00 h"),
        (200_000, "55:33:20 h"),
    ],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0.123456, "0.1235"),
        (12345.67, "12,345.7"),
        (True, "True"),
        ("cpu", "cpu"),
        (None, "None"),
    ],
)
def test_numbers_as_people_read_them(value: object, text: str) -> None:
    assert number(value) == text


def test_the_summary_leaves_out_what_only_programs_read() -> None:
    metrics = {"kept": 3, "rejected": {"format": 2}, "tokenizer": "abc", "stop_token_ids": [0]}
    manifest = Manifest(
        format=1,
        stage="curate",
        fingerprint="f",
        digest="d",
        config={},
        inputs={},
        files={},
        metrics=metrics,
        versions={},
        commit=None,
        job_id=None,
        attempt=1,
        started="",
        seconds=1.0,
    )
    console = Console(file=io.StringIO(), width=60)
    with console.capture() as capture:
        console.print(summary(manifest))
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines == [["kept", "3"], ["rejected:", "format", "2"]]


def test_more_than_is_attainable_is_an_estimate_that_was_too_low() -> None:
    assert "over 100% of attainable" in detail(progress(10, share_of_limit=1.1))
    assert "100% of attainable" in detail(progress(10, share_of_limit=1.0))
