"""Progress of the stages: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Column

if TYPE_CHECKING:
    from wmss_cli.core.progress import Progress


_PLAIN_EVERY_S = 10.0
_WIDE = 100
_PACE = {
    "loss": "loss {:.3f}",
    "tokens_per_s": "{:,.0f} tok/s",
    "mfu": "MFU {:.0%}",
    "share_of_limit": "{:.0%} of attainable",
    "peak_memory_gb": "{:.1f} GB",
}

Watch = Callable[["Progress | None"], None]


class Display:
    """Shows one stage after the other.

    Parameters
    ----------
    console : Console
        A console on stderr.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal

    @contextmanager
    def stage(self, label: str) -> Iterator[Watch]:
        """Show a stage while it runs; the function that is yielded takes its progress."""
        if self._live:
            bar = 16 if self._console.width >= _WIDE else 10
            with _bars(self._console, bar) as bars:
                task = bars.add_task(label, total=None, detail="starting")
                rest = self._console.width - len(label) - bar
                yield lambda progress: _update_bar(bars, task, progress, rest)
        else:
            plain = _PlainLines(self._console, label)
            self.say(f"{label}: started")
            yield plain.show

    def finished(self, label: str, seconds: float, note: str = "") -> None:
        """Say that a stage is done."""
        mark = "[green]✓[/] " if self._live else ""
        text = f"{label}: done in {duration(seconds)}" + (f", {note}" if note else "")
        self._console.print(mark + text, highlight=False, soft_wrap=True)

    def skipped(self, label: str) -> None:
        """Say that a stage was done before."""
        mark = "[green]✓[/] " if self._live else ""
        self._console.print(f"{mark}{label}: done before", highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line for the user."""
        self._console.print(text, highlight=False, soft_wrap=True)


class _PlainLines:
    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._last = time.monotonic()

    def show(self, progress: Progress | None) -> None:
        if progress is None or time.monotonic() - self._last < _PLAIN_EVERY_S:
            return
        self._last = time.monotonic()
        total = f"/{progress.total}" if progress.total is not None else ""
        more = detail(progress)
        line = f"{self._label}: {progress.done}{total} {progress.unit}"
        self._console.print(line + (f", {more}" if more else ""), highlight=False, soft_wrap=True)


def _bars(console: Console, width: int) -> Bars:
    return Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=width),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}", table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
    )


def _update_bar(bars: Bars, task: object, progress: Progress | None, width: int) -> None:
    """Show progress; `width` is the room that label and bar leave, in columns."""
    if progress is not None:
        # The numbers done/total, the spinner, and a space after each column but the last.
        width -= 2 * len(str(progress.total or progress.done)) + 1 + 5
        bars.update(
            task,  # type: ignore[arg-type]
            total=progress.total,
            completed=progress.done,
            detail=detail(progress, width) or progress.unit,
        )


def detail(progress: Progress, width: int | None = None) -> str:
    """Say loss, speed, both shares, memory and time left, as far as they are known.

    If that is wider than `width`, memory is left out first, then the shares, then the speed.
    """
    parts = {**pace(progress), "left": left(progress)}
    for dropped in ("peak_memory_gb", "share_of_limit", "mfu", "tokens_per_s"):
        if width is not None and len(_joined(parts)) > width:
            parts.pop(dropped, None)
    return _joined(parts)


def pace(progress: Progress) -> dict[str, str]:
    """Return what a stage reports about its work, by the name of the metric."""
    found = progress.metrics
    said = {name: text.format(found[name]) for name, text in _PACE.items() if name in found}
    if found.get("share_of_limit", 0) > 1:
        # The attainable rate is an estimate.
        said["share_of_limit"] = "over 100% of attainable"
    return said


def left(progress: Progress) -> str:
    """Say how long a stage still needs; empty if that is unknown."""
    if progress.seconds_left is None or progress.done == progress.total:
        return ""
    return f"{duration(progress.seconds_left)} left"


def _joined(parts: dict[str, str]) -> str:
    return ", ".join(part for part in parts.values() if part)


def duration(seconds: float) -> str:
    """Return a time as people write it: ``8.3 s``, ``4:05 min``, ``2:10:00 h``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h"


def number(count: int, noun: str) -> str:
    """Return ``1 job`` or ``2 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def verb(count: int) -> str:
    """Return ``was`` or ``were``."""
    return "was" if count == 1 else "were"
