"""The real worker with a fault in it: ``faulty_worker.py CONTROL FAULT COUNT``.

``forward`` kills the process with SIGKILL in its COUNT-th forward pass, ``save`` while it
hashes its COUNT-th checkpoint file, ``signal`` sends SIGUSR1 to itself in its COUNT-th forward
pass, ``nan`` makes the loss of its COUNT-th forward pass NaN, ``none`` does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from wmss_cli.launch import worker


def break_things(fault: str, count: int) -> None:
    from wmss_cli.core import files
    from wmss_cli.train import checkpoint
    from wmss_cli.train.pair import WeakStrongPair

    calls = 0

    def count_call() -> bool:
        nonlocal calls
        calls += 1
        return calls == count

    if fault == "save":

        class Files:
            def __getattr__(self, name: str) -> Any:
                return getattr(files, name)

            def sha256(self, path: Path) -> str:
                if count_call():
                    os.kill(os.getpid(), signal.SIGKILL)
                return files.sha256(path)

        checkpoint.files = Files()
        return
    forward = WeakStrongPair.forward

    def faulty_forward(self: WeakStrongPair, *args: Any, **kwargs: Any) -> Any:
        loss, sums = forward(self, *args, **kwargs)
        if count_call():
            if fault == "nan":
                return loss * float("nan"), sums * float("nan")
            os.kill(os.getpid(), signal.SIGKILL if fault == "forward" else signal.SIGUSR1)
        return loss, sums

    WeakStrongPair.forward = faulty_forward


if __name__ == "__main__":
    if sys.argv[2] != "none":
        break_things(sys.argv[2], int(sys.argv[3]))
    code = worker.main(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(code)
