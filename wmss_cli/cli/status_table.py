"""How a run stands, as a person reads it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wmss_cli.cli import status_matrix
from wmss_cli.cli.display import detail, duration, left, pace
from wmss_cli.launch.status import Failure, RunStatus, StageStatus

_STYLES = {
    "done": "green",
    "running": "cyan",
    "waiting": "yellow",
    "failed": "red",
    "cancelled": "red",
    "not sent": "dim",
}

_SOON_S = 900.0
_MOST_ROWS = 40
_TELLING = ("running", "failed")


def render(status: RunStatus) -> RenderableType:
    """Show the stages, then what failed and how to fix it; of a large study its arms."""
    return Group(*_parts(status, len(status.stages) <= _MOST_ROWS))


def show(status: RunStatus, console: Console, whole: bool = False) -> None:
    """Print :func:`render`, with whole paths and commands, which are there to be copied.

    Parameters
    ----------
    status : RunStatus
        What to show.
    console : Console
        Where.
    whole : bool
        A row for each stage, however many there are.
    """
    table, *texts = _parts(status, whole or len(status.stages) <= _MOST_ROWS)
    console.print(table)
    for text in texts:
        console.print(text, soft_wrap=True)


def _parts(status: RunStatus, whole: bool) -> list[RenderableType]:
    rows = status.stages if whole else [s for s in status.stages if s.state in _TELLING]
    parts: list[RenderableType] = [_stages(status, rows)]
    if not whole:
        parts = [status_matrix.render(status.stages)] + (parts if rows else [])
    failures = [stage for stage in status.stages if stage.failure is not None]
    # What was cancelled because of another failure needs no fix of its own.
    shown = [stage for stage in failures if stage.state == "failed"] or failures[:1]
    parts += [_live(stage) for stage in status.stages if _trains(stage)]
    parts += [_failure(stage.label, stage.failure) for stage in shown if stage.failure]
    parts.append(_footer(status))
    return parts


def _stages(status: RunStatus, rows: Sequence[StageStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("job", no_wrap=True, justify="right")
    table.add_column("state", overflow="fold", ratio=1)
    table.add_column("tasks", no_wrap=True, justify="right")
    table.add_column("time", no_wrap=True, justify="right")
    with_gpus = status.gpu_hours is not None
    if with_gpus:
        table.add_column("GPU h", no_wrap=True, justify="right")
    with_use = any(stage.cpu_efficiency is not None for stage in status.stages)
    if with_use:
        table.add_column("CPU/mem", no_wrap=True, justify="right")
    for stage in rows:
        row = [
            stage.label,
            _jobs(stage.jobs),
            f"[{_STYLES[stage.state]}]{escape(_what(stage))}[/]",
            _tasks(stage),
            duration(stage.elapsed_s) if stage.elapsed_s is not None else "",
        ]
        if with_gpus:
            row.append("" if stage.gpu_hours is None else f"{stage.gpu_hours:,.1f}")
        if with_use:
            row.append(_use(stage))
        table.add_row(*row)
    return table


def _what(stage: StageStatus) -> str:
    """Say how a stage stands: in words, and by its own heartbeat or Slurm's estimate."""
    text = stage.words
    if stage.progress is not None and stage.state == "running":
        progress = stage.progress
        total = f"/{progress.total:,}" if progress.total is not None else ""
        text += f"; {progress.done:,}{total} {progress.unit}"
        more = left(progress) if _trains(stage) else detail(progress)
        text += f", {more}" if more else ""
    limit = stage.limit_left_s
    if stage.state == "running" and limit is not None:
        ends_first = limit < (_SOON_S if stage.left_s is None else stage.left_s)
        text += f"; limit in {duration(limit)}" if ends_first else ""
    if stage.state == "waiting" and stage.expected_start is not None:
        text += f"; expected {_moment(stage.expected_start)}"
    return text


def _trains(stage: StageStatus) -> bool:
    """Say whether a stage tells more of itself than its row holds."""
    progress = stage.progress
    return stage.state == "running" and progress is not None and "loss" in progress.metrics


def _live(stage: StageStatus) -> Text:
    assert stage.progress is not None
    return Text(f"{stage.label}: {', '.join(pace(stage.progress).values())}", style="cyan")


def _moment(when: datetime) -> str:
    today = datetime.now().date()
    return f"{when:%H:%M}" if when.date() == today else f"{when:%d %b %H:%M}"


def _jobs(jobs: list[str]) -> str:
    return ",".join(jobs) if len(jobs) < 3 else f"{jobs[0]} +{len(jobs) - 1}"


def _tasks(stage: StageStatus) -> str:
    """Count an array's tasks: done/total, and how many run or failed."""
    tasks = stage.tasks
    if tasks.total <= 1:
        return ""
    parts = [f"{tasks.done}/{tasks.total}"]
    parts += [f"{tasks.running} run"] if tasks.running else []
    parts += [f"{tasks.failed} failed"] if tasks.failed else []
    return ", ".join(parts)


def _use(stage: StageStatus) -> str:
    shares = (stage.cpu_efficiency, stage.memory_efficiency)
    if all(share is None for share in shares):
        return ""
    return "/".join("-" if share is None else f"{100 * share:.0f}%" for share in shares)


def _failure(label: str, failure: Failure) -> Text:
    text = Text()
    text.append(f"{label} (job {failure.job_id}): {failure.why}\n", style="red")
    for line in failure.tail:
        text.append(f"  | {line}\n", style="dim")
    if Path(failure.log).is_file():
        text.append(f"  log:  {failure.log}\n")
    text.append(f"  mend: {failure.mend}\n")
    return text


def _footer(status: RunStatus) -> Text:
    text = Text()
    hours = "" if status.gpu_hours is None else f", {status.gpu_hours:,.1f} GPU-hours"
    checked = time.strftime("%H:%M:%S", time.localtime(status.checked))
    text.append(f"{Path(status.run_dir).name}: {status.state}{hours} (at {checked})")
    for note in status.notes:
        text.append(f"\nnote: {note}", style="yellow")
    return text
