"""``wmss run`` as a person starts it, and what can be killed of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from commands import WMSS

_BUSY = "another process is writing it"


class Launcher:
    """A run in a process of its own."""

    def __init__(self, config: Path, out: Path) -> None:
        self._log = out.with_name("launcher.log").open("w+")
        self.process = subprocess.Popen(
            [*WMSS, "run", str(config), "--out", str(out)],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_for(self, happened: Callable[[], bool], limit_s: float = 900) -> bool:
        """Wait until something happened, and return True, or until the run is at its end."""
        deadline = time.monotonic() + limit_s
        while not happened():
            assert time.monotonic() < deadline, self.said
            if self.process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    @property
    def works(self) -> bool:
        """Whether it has a worker now."""
        return bool(workers_of(self.process.pid))

    @property
    def said(self) -> str:
        self._log.seek(0)
        return self._log.read()

    @property
    def found_another(self) -> bool:
        """Whether it ended because a worker of the launcher before still saves."""
        return self.process.poll() == 3 and _BUSY in self.said

    def kill(self, who: str) -> None:
        """Kill the ``launcher``, its ``worker``, or ``all``; what it started ends in any case."""
        workers = workers_of(self.process.pid)
        pids = {"launcher": [self.process.pid], "worker": workers}.get(
            who, [self.process.pid, *workers]
        )
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
            return
        # The worker was at its end before it could be killed.
        self.kill("all")


def workers_of(pid: int) -> list[int]:
    """Return the workers that a launcher has started."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"wmss_cli.launch.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found
