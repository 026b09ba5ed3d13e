"""How a thread ends its process with an error while the main thread is stuck."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from wmss_cli.core.errors import WmssError

End = Callable[[WmssError, str], NoReturn]
_ends: list[End] = []


def ends_by(end: End) -> None:
    """Set what :func:`end_process` does, for who reports errors elsewhere than on the terminal.

    Parameters
    ----------
    end : callable
        Is given the error and a traceback, and does not return.
    """
    _ends[:] = [end]


def end_process(error: WmssError, traceback: str) -> NoReturn:
    """End this process with an error, from any thread.

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
