"""The last lines of a log, however long it is."""

from __future__ import annotations

from pathlib import Path

_LINE_BYTES = 400


def tail(log: Path, lines: int) -> list[str]:
    """Return the last lines of a log that hold something."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LINE_BYTES * lines))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
