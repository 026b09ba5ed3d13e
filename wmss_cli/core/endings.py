"""What has to be closed before a process ends by ``os._exit``, which runs no finalizers."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread

_PATIENCE_S = 10.0
_endings: list[Callable[[], object]] = []


def at_end(close: Callable[[], object]) -> None:
    """Have something closed by :func:`close_all`."""
    _endings.append(close)


def close_all(patience_s: float = _PATIENCE_S) -> None:
    """Close what was named last first; what fails says so, what hangs is left behind."""
    while _endings:
        thread = Thread(target=_endings.pop(), daemon=True)
        thread.start()
        thread.join(patience_s)
