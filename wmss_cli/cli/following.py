"""Follow a run in Slurm until nothing is left to wait for."""

from __future__ import annotations

import time
from pathlib import Path

from rich.live import Live

from wmss_cli.cli import console, status_table
from wmss_cli.cli.display import Display
from wmss_cli.core.errors import InterruptedRunError, StageError
from wmss_cli.launch.ledger import Ledger
from wmss_cli.launch.runs import name_of
from wmss_cli.launch.status import RunStatus, run_status

_FIRST_S = 10.0
_LONGEST_S = 60.0


def follow(run_dir: Path, display: Display) -> bool:
    """Show a run until it is over; return True when all of it is done.

    Raises
    ------
    StageError
        If a stage failed, or what is left can never start.
    InterruptedRunError
        On Ctrl-C, which ends the watching and not the jobs.
    """
    try:
        status = watch(run_dir, display)
    except KeyboardInterrupt:
        name = name_of(run_dir)
        raise InterruptedRunError(
            f"detached, the jobs go on: 'wmss status {name}' shows them, "
            f"'wmss cancel {name}' ends them"
        ) from None
    for stage in status.stages:
        if stage.failure is not None:
            raise StageError(f"{stage.label}: {stage.failure.why}; {stage.failure.mend}")
    if status.state != "done":
        raise StageError(f"the run is {status.state}; wmss retry {name_of(run_dir)}")
    return True


def watch(run_dir: Path, display: Display) -> RunStatus:
    """Show a run again and again until it is over, ever more slowly, and return the last look."""
    ledger = Ledger(run_dir)
    pause = _FIRST_S
    status = run_status(ledger)
    if not console.err.is_terminal:
        return _watch_plainly(ledger, status, display)
    with Live(status_table.render(status), console=console.err, auto_refresh=False) as live:
        while not status.is_over:
            time.sleep(pause)
            pause = min(_LONGEST_S, pause * 1.1)
            status = run_status(ledger)
            live.update(status_table.render(status), refresh=True)
    return status


def _watch_plainly(ledger: Ledger, status: RunStatus, display: Display) -> RunStatus:
    """Print a line for each stage whose state changed."""
    shown: dict[str, str] = {}
    pause = _FIRST_S
    while True:
        for stage in status.stages:
            if shown.get(stage.label) != stage.words:
                shown[stage.label] = stage.words
                display.say(f"{stage.label}: {stage.words}")
        if status.is_over:
            return status
        time.sleep(pause)
        pause = min(_LONGEST_S, pause * 1.1)
        status = run_status(ledger)
