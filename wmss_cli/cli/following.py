"""Follow a run in Slurm until nothing is left to wait for."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from rich.live import Live

from wmss_cli.cli import console, status_table
from wmss_cli.cli.display import Display
from wmss_cli.core.errors import InterruptedRunError, SlurmError, StageError, WmssError
from wmss_cli.core.selection import WHOLE, Selection
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.runs import name_of
from wmss_cli.slurm.send import send_rest
from wmss_cli.slurm.status import RunStatus, run_status

_FIRST_S = 10.0
_LONGEST_S = 60.0
_REFUSED_S = 3600.0
_SURE = 2


def follow(run_dir: Path, display: Display) -> bool:
    """Show a run until it is over; return True when all of it is done.

    Raises
    ------
    StageError
        If a stage failed, or what is left can never start.
    InterruptedRunError
        On Ctrl-C, which ends the watching but not the jobs.
    """
    try:
        status = watch(run_dir, display, sends=True)
    except KeyboardInterrupt:
        name = shlex.quote(name_of(run_dir))
        raise InterruptedRunError(
            f"detached, the jobs continue: 'wmss status {name}' shows them, "
            f"'wmss cancel {name}' ends them"
        ) from None
    for stage in status.stages:
        if stage.failure is not None:
            raise StageError(f"{stage.label}: {stage.failure.why}; {stage.failure.fix}")
    if status.state != "done":
        raise StageError(f"the run is {status.state}; wmss retry {shlex.quote(name_of(run_dir))}")
    return True


def watch(
    run_dir: Path,
    display: Display,
    selection: Selection = WHOLE,
    sends: bool = False,
) -> RunStatus:
    """Show a run again and again until it is over, and return its last status.

    Parameters
    ----------
    sends : bool
        Before each look, send what could not be sent at once (`max_submitted`).
    """
    rest = _Rest(Ledger(run_dir), display) if sends else None
    looks = _looks(Ledger(run_dir), selection, rest)
    if not console.err.is_terminal:
        return _watch_plainly(looks, display)
    status = next(looks)
    shown = status_table.render(status, console.err)
    with Live(shown, console=console.err, auto_refresh=False) as live:
        for look in looks:
            status = look
            live.update(status_table.render(status, console.err), refresh=True)
    return status


class _Rest:
    """Jobs that are still to be sent; if Slurm refuses them, that is said once."""

    def __init__(self, ledger: Ledger, display: Display) -> None:
        self._ledger = ledger
        self._display = display
        self._said = ""
        self._refused_s = 0.0

    def send(self, pause: float) -> int:
        """Send what there is room for, and return how many jobs wait for room.

        Slurm may not answer for a while, or allow no more jobs until some have ended: then they
        still wait, but not for ever. `pause` is the time since the last call, in seconds.
        """
        try:
            waiting = send_rest(self._ledger)
        except WmssError as error:
            # One damaged result must not end the watch over all others.
            if str(error) != self._said:
                self._said = str(error)
                self._display.say(f"the rest is not sent yet: {error}")
            self._refused_s += pause
            if not isinstance(error, SlurmError) or self._refused_s > _REFUSED_S:
                return 0
            return sum(map(len, self._ledger.later().values()))
        self._refused_s = 0.0
        return waiting


def _looks(ledger: Ledger, selection: Selection, rest: _Rest | None) -> Iterator[RunStatus]:
    """Look at a run at growing intervals until it is over."""
    pause = _FIRST_S
    over = 0
    while True:
        to_send = 0 if rest is None else rest.send(pause)
        status = run_status(ledger, selection)
        yield status
        over = over + 1 if status.is_over and not to_send else 0
        # A shared file system may show a result some seconds after the job has ended.
        if status.state == "done" or over == _SURE:
            return
        time.sleep(pause)
        pause = min(_LONGEST_S, pause * 1.1)


def _watch_plainly(looks: Iterator[RunStatus], display: Display) -> RunStatus:
    """Print a line for each stage whose state changed."""
    shown: dict[str, str] = {}
    status: RunStatus | None = None
    for status in looks:
        for stage in status.stages:
            if shown.get(stage.label) != stage.words:
                shown[stage.label] = stage.words
                display.say(f"{stage.label}: {stage.words}")
    assert status is not None
    return status
