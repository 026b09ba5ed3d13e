"""How a process ends that leaves by ``os._exit``, without finalizers: in order, or stuck."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Thread
from typing import NoReturn

from wmss_cli.core.errors import WmssError

End = Callable[[WmssError, str], NoReturn]

_PATIENCE_S = 10.0
_endings: list[Callable[[], object]] = []
_ends: list[End] = []


def at_end(close: Callable[[], object]) -> None:
    """Register something for :func:`close_all` to close."""
    _endings.append(close)


def close_all() -> None:
    """Close all, the last registered first; report what fails, and leave behind what hangs."""
    while _endings:
        thread = Thread(target=_endings.pop(), daemon=True)
        thread.start()
        thread.join(_PATIENCE_S)


def ends_by(end: End) -> None:
    """Set what :func:`end_process` does, to report errors elsewhere than on the terminal.

    Parameters
    ----------
    end : callable
        Called with the error and a traceback; does not return.
    """
    _ends[:] = [end]


def end_process(error: WmssError, traceback: str) -> NoReturn:
    """End this process with an error, from any thread, while the main one is stuck.

    Parameters
    ----------
    error : WmssError
        What went wrong.
    traceback : str
        Where the process is.
    """
    if _ends:
        _ends[0](error, traceback)
    print(f"{traceback}\n{error}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(error.exit_code)
