"""The state of a run, as a person reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wmss_cli.cli.display import detail, duration, left, number, pace
from wmss_cli.slurm.status import Failure, RunStatus, StageStatus

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
_WIDE = 100
# What must be seen, whatever the size of the terminal.
_TELLING = ("failed", "running")
_MOST_TAILS = 3
# Of several steps of an arm, the first of these is shown.
_WORST = ("failed", "cancelled", "running", "waiting", "not sent", "done")
# Those with a colour in the table of arms and seeds.
_TOLD = ("failed", "cancelled", "running", "done")


@dataclass(frozen=True)
class _Detail:
    """How much is shown.

    Attributes
    ----------
    folded : tuple of str
        States of which only the number is shown.
    rows : int or None
        Most rows of what runs and failed; None is no limit.
    is_brief : bool
        Whether only the essential is shown of failures and trainings.
    has_matrix : bool
        Whether arms and seeds are a table of their own.
    """

    folded: tuple[str, ...] = ()
    rows: int | None = None
    is_brief: bool = False
    has_matrix: bool = False


def render(status: RunStatus, console: Console) -> RenderableType:
    """Return what fits the terminal: done stages are folded first, running or failed ones never.

    Parameters
    ----------
    status : RunStatus
        What to show.
    console : Console
        Its width and height count.
    """
    # The cursor is on the line below.
    height = console.height - 1
    shown: RenderableType = ""
    for wanted in _ever_less(status):
        shown = Group(*_parts(status, wanted, console.width))
        if len(console.render_lines(shown, pad=False)) <= height:
            break
    return shown


def _ever_less(status: RunStatus) -> Iterator[_Detail]:
    large = len(status.stages) > _MOST_ROWS
    rest = ("done", "waiting", "cancelled", "not sent")
    if large:
        yield _Detail(rest, has_matrix=True)
    else:
        yield _Detail()
        yield _Detail(("done",))
    yield _Detail(rest)
    yield _Detail(rest, is_brief=True)
    telling = sum(stage.state in _TELLING for stage in status.stages)
    for rows in range(telling - 1, 0, -1):
        yield _Detail(rest, rows, is_brief=True)


def show(status: RunStatus, console: Console, whole: bool = False) -> None:
    """Print the state of a run, with whole paths and commands, so that they can be copied.

    Parameters
    ----------
    status : RunStatus
        What to show.
    console : Console
        Where to print it.
    whole : bool
        Whether each stage gets a row, however many there are.
    """
    large = not whole and len(status.stages) > _MOST_ROWS
    wanted = _Detail(("done", "waiting", "cancelled", "not sent"), has_matrix=True)
    for part in _parts(status, wanted if large else _Detail(), console.width):
        if isinstance(part, Text):
            console.print(part, soft_wrap=True)
        else:
            console.print(part)


def _parts(status: RunStatus, wanted: _Detail, width: int) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if wanted.has_matrix:
        parts.append(_matrix(status.stages))
    rows = [stage for stage in status.stages if stage.state not in wanted.folded]
    more = 0
    if wanted.rows is not None:
        rows.sort(key=lambda stage: _TELLING.index(stage.state))
        rows, more = rows[: wanted.rows], len(rows) - wanted.rows
    if rows:
        parts.append(_stages(status, rows, width))
    if wanted.folded and not wanted.has_matrix:
        parts.append(_counts(status, wanted.folded, more))
    parts += [_live(stage) for stage in rows if _trains(stage)]
    parts += _failures(status, wanted.is_brief)
    parts.append(_footer(status))
    return parts


def _counts(status: RunStatus, folded: Sequence[str], more: int) -> Text:
    """Count the stages that have no row."""
    states = [stage.state for stage in status.stages]
    parts = [f"{states.count(state)} {state}" for state in folded if state in states]
    parts += [f"{more} more that run or failed"] if more else []
    return Text(f" … {', '.join(parts)}", style="dim")


def _stages(status: RunStatus, rows: Sequence[StageStatus], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("job", no_wrap=True, justify="right")
    table.add_column("state", overflow="fold", ratio=1)
    with_tasks = any(_tasks(stage) for stage in rows)
    if with_tasks:
        table.add_column("tasks", no_wrap=True, justify="right")
    table.add_column("time", no_wrap=True, justify="right")
    # If there is little room, the words of a state are worth more.
    with_gpus = status.gpu_hours is not None and width >= _WIDE
    if with_gpus:
        table.add_column("GPU h", no_wrap=True, justify="right")
    with_use = width >= _WIDE and any(s.cpu_efficiency is not None for s in status.stages)
    if with_use:
        table.add_column("CPU/mem", no_wrap=True, justify="right")
    for stage in rows:
        row = [
            stage.label,
            _jobs(stage.jobs),
            f"[{_STYLES[stage.state]}]{escape(_what(stage))}[/]",
            *([_tasks(stage)] if with_tasks else []),
            duration(stage.elapsed_s) if stage.elapsed_s is not None else "",
        ]
        if with_gpus:
            row.append("" if stage.gpu_hours is None else hours(stage.gpu_hours))
        if with_use:
            row.append(_use(stage))
        table.add_row(*row)
    return table


def hours(spent: float) -> str:
    """Return GPU-hours, also of short jobs: ``1,234.5``, ``0.25``, ``0.003``."""
    if spent >= 10:
        return f"{spent:,.1f}"
    if spent >= 0.1 or spent == 0:
        return f"{spent:.2f}"
    return f"{spent:.3f}" if spent >= 0.001 else "<0.001"


def _what(stage: StageStatus) -> str:
    """Describe a stage's state: in words, and by its own heartbeat or Slurm's estimate."""
    text = stage.words
    if stage.progress is not None and stage.state == "running":
        progress = stage.progress
        total = f"/{progress.total:,}" if progress.total is not None else ""
        # Its numbers already say that it runs.
        begun = "" if text == "running" else f"{text}; "
        text = f"{begun}{progress.done:,}{total} {progress.unit}"
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
    """Say whether a stage reports more than its row can show."""
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
    """Count an array's tasks: done/total, and how many run, failed or were cancelled."""
    tasks = stage.tasks
    if tasks.total <= 1:
        return ""
    parts = [f"{tasks.done}/{tasks.total}"]
    parts += [f"{tasks.running} run"] if tasks.running else []
    parts += [f"{tasks.failed} failed"] if tasks.failed else []
    parts += [f"{tasks.cancelled} cancelled"] if tasks.cancelled else []
    return ", ".join(parts)


def _use(stage: StageStatus) -> str:
    shares = (stage.cpu_efficiency, stage.memory_efficiency)
    if all(share is None for share in shares):
        return ""
    return "/".join("-" if share is None else f"{100 * share:.0f}%" for share in shares)


def _failures(status: RunStatus, is_brief: bool) -> Iterator[Text]:
    """Yield what failed, and each way to fix it once, however many stages it fixes."""
    failures = [(stage, stage.failure) for stage in status.stages if stage.failure is not None]
    # What was cancelled because of another failure needs no fix of its own.
    failed = [pair for pair in failures if pair[0].state == "failed"] or failures[:1]
    fixes: dict[str, list[tuple[StageStatus, Failure]]] = {}
    for stage, failure in failed:
        fixes.setdefault(failure.fix, []).append((stage, failure))
    for fix, several in fixes.items():
        text = Text()
        for stage, failure in several[: 1 if is_brief else None]:
            text.append(f"{stage.label} (job {failure.job_id}): {failure.why}\n", style="red")
            if is_brief:
                continue
            if (stage, failure) in failed[:_MOST_TAILS]:
                for line in failure.tail:
                    text.append(f"  | {line}\n", style="dim")
            if Path(failure.log).is_file():
                text.append(f"  log:  {failure.log}\n")
        if is_brief and len(several) > 1:
            text.append(f"  and {number(len(several) - 1, 'stage')} more\n", style="red")
        text.append(f"  fix: {fix}" + ("" if is_brief else "\n"))
        yield text


def _footer(status: RunStatus) -> Text:
    text = Text()
    spent = "" if status.gpu_hours is None else f", {hours(status.gpu_hours)} GPU-hours"
    checked = time.strftime("%H:%M:%S", time.localtime(status.checked))
    text.append(f"{Path(status.run_dir).name}: {status.state}{spent} (at {checked})")
    for note in status.notes:
        text.append(f"\nnote: {note}", style="yellow")
    return text


def _matrix(stages: Sequence[StageStatus]) -> Group:
    """Show for each arm and seed how many of the steps that it needs are done.

    What several arms share counts for each of them.
    """
    models = list(dict.fromkeys(model for stage in stages for model in stage.models)) or [""]
    seeds = list(dict.fromkeys(seed for stage in stages for seed in stage.seeds))
    arms = list(dict.fromkeys(arm for stage in stages for arm in stage.arms))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if len(models) > 1:
        table.add_column("model", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for seed in seeds:
        table.add_column(f"seed {seed}", no_wrap=True, justify="right")
    for model in models:
        for arm in arms:
            cells = [_cell(_needed(stages, model, arm, seed)) for seed in seeds]
            table.add_row(*([model] if len(models) > 1 else []), arm, *cells)
    rest = [Text(f" {stage.label}: {stage.words}") for stage in stages if not stage.arms]
    return Group(table, *rest)


def _needed(stages: Sequence[StageStatus], model: str, arm: str, seed: int) -> list[StageStatus]:
    return [
        stage
        for stage in stages
        if arm in stage.arms
        and (seed in stage.seeds or not stage.seeds)
        and (model in stage.models or not stage.models)
    ]


def _cell(stages: Sequence[StageStatus]) -> str:
    """Say the worst of the states, and how much is done."""
    if not stages:
        return "-"
    done = sum(stage.state == "done" for stage in stages)
    state = min((stage.state for stage in stages), key=_WORST.index)
    text = "done" if state == "done" else f"{state} {done}/{len(stages)}"
    style = _STYLES[state] if state in _TOLD else None
    return f"[{style}]{text}[/]" if style else text
