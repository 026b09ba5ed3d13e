"""How far a stage has come: one small file that the stage writes and any display reads.

The file is the same on one machine and under Slurm, so that a display needs no channel to
the process that works.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

PROGRESS = "progress.json"
_WRITE_EVERY_S = 0.25


class Progress(BaseModel):
    """State of a running stage.

    Attributes
    ----------
    done, total : int
        In units of `unit`; the total is None if unknown.
    resumed_at : int
        What was done already when this attempt began.
    metrics : dict of str to float
        The latest values, such as ``loss`` and ``tokens_per_s``; ``seconds_left`` if the stage
        itself knows better than its mean pace does.
    started, updated : float
        Seconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    unit: str
    done: int
    total: int | None
    resumed_at: int
    metrics: dict[str, float]
    started: float
    updated: float

    @property
    def seconds_left(self) -> float | None:
        """Time left, in seconds: as the stage says, otherwise at the mean pace of this attempt."""
        if "seconds_left" in self.metrics:
            return self.metrics["seconds_left"]
        fresh = self.done - self.resumed_at
        if self.total is None or fresh <= 0:
            return None
        return (self.updated - self.started) / fresh * (self.total - self.done)


class ProgressWriter:
    """Write the progress of a stage into its folder, at most a few times a second."""

    def __init__(self, folder: Path, unit: str, total: int | None, done: int = 0) -> None:
        self._folder = folder
        self._unit = unit
        self._total = total
        self._resumed_at = done
        self._started = time.time()
        self._written = 0.0
        self.update(done)

    def update(self, done: int, **metrics: float) -> None:
        """Report that `done` units are done."""
        now = time.time()
        if now - self._written < _WRITE_EVERY_S and done != self._total:
            return
        self._written = now
        progress = Progress(
            unit=self._unit,
            done=done,
            total=self._total,
            resumed_at=self._resumed_at,
            metrics=metrics,
            started=self._started,
            updated=now,
        )
        write_progress(self._folder, progress)


def write_progress(folder: Path, progress: Progress) -> None:
    """Write progress into the folder of a stage, replacing the previous one."""
    aside = folder / f".{PROGRESS}.{os.getpid()}.tmp"
    aside.write_text(progress.model_dump_json(), encoding="utf-8")
    aside.rename(folder / PROGRESS)


def add_up(parts: Sequence[Progress]) -> Progress:
    """Return the progress of several shards of a stage together; of the metrics, only the speed.

    Parameters
    ----------
    parts : sequence of Progress
        At least one. The total is None if that of any of them is.
    """
    totals = [part.total for part in parts if part.total is not None]
    speed = sum(part.metrics.get("tokens_per_s", 0.0) for part in parts)
    return Progress(
        unit=parts[0].unit,
        done=sum(part.done for part in parts),
        total=sum(totals) if len(totals) == len(parts) else None,
        resumed_at=sum(part.resumed_at for part in parts),
        metrics={"tokens_per_s": speed} if speed else {},
        started=min(part.started for part in parts),
        updated=max(part.updated for part in parts),
    )


def read_progress(folder: Path) -> Progress | None:
    """Read the progress of the stage that writes into a folder; None if it has not begun."""
    try:
        return Progress.model_validate_json((folder / PROGRESS).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValidationError):
        return None
