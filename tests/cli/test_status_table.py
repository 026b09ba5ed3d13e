"""What is running or failed is seen on any terminal; what is done gives way first."""

from __future__ import annotations

import io
import random
from typing import get_args

import pytest
from rich.console import Console

from wmss_cli.cli.status_table import hours, render, show
from wmss_cli.slurm.job_status import State
from wmss_cli.slurm.status import Counts, Failure, RunStatus, StageStatus

STATES = get_args(State)


def stage(label: str, state: State, failure: Failure | None = None) -> StageStatus:
    words = "waits for its input" if state == "waiting" else state
    return StageStatus(
        **{"label": label, "stage": "sft", "state": state, "words": words, "jobs": ["1234567"]},
        failure=failure,
    )


def failed(label: str, fix: str = "wmss retry run") -> StageStatus:
    tail = [f"{label} line {i}" for i in range(5)]
    failure = Failure(
        **{"job_id": "7", "short": "failed", "why": "failed with exit code 5: no data"},
        **{"log": "/nowhere", "tail": tail, "fix": fix},
    )
    return stage(label, "failed", failure)


def status(*stages: StageStatus) -> RunStatus:
    order = ("running", "waiting", "failed", "cancelled", "not sent", "done")
    state = min((one.state for one in stages), key=order.index)
    return RunStatus(
        **{"run_dir": "/runs/mine", "state": state, "checked": 0.0, "notes": []},
        **{"gpu_hours": 0.004, "stages": list(stages)},
    )


def screen(found: RunStatus, width: int = 80, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    rows = console.render_lines(render(found, console), pad=False)
    return ["".join(segment.text for segment in row) for row in rows]


def test_what_fits_is_shown_as_a_whole() -> None:
    lines = screen(status(*(stage(f"s{i}", "done") for i in range(12))))
    assert sum(line.startswith(" s") and "done" in line for line in lines) == 12
    assert len(lines) < 24


@pytest.mark.parametrize("seed", range(40))
def test_what_runs_or_failed_is_seen_whatever_there_is_of_the_rest(seed: int) -> None:
    rng = random.Random(seed)
    quiet = [state for state in STATES if state not in ("running", "failed")]
    stages = [stage(f"quiet-{i}", rng.choice(quiet)) for i in range(rng.randrange(80))]
    telling = [f"loud-{i}" for i in range(rng.randrange(1, 9))]
    stages += [failed(n) if rng.random() < 0.5 else stage(n, "running") for n in telling]
    rng.shuffle(stages)
    found = status(*stages)
    for width, height in ((80, 24), (120, 30), (60, 24)):
        lines = screen(found, width, height)
        assert len(lines) < height
        assert all(any(line.startswith(f" {name} ") for line in lines) for name in telling)
        assert lines[-1].startswith(f"mine: {found.state}, 0.004 GPU-hours")
    # What is not shown is counted.
    if len(stages) > 40:
        counts = " ".join(screen(found))
        assert all(
            f"{sum(s.state == q for s in stages)} {q}" in counts
            for q in quiet
            if any(s.state == q for s in stages)
        )


def test_more_than_fits_of_what_runs_is_counted_and_failures_come_first() -> None:
    stages = [stage(f"run-{i}", "running") for i in range(50)]
    lines = screen(status(*stages, failed("late")), height=16)
    assert len(lines) < 16
    assert any(line.startswith(" late ") for line in lines)
    assert any("more that run or failed" in line for line in lines)
    assert any("fix: wmss retry run" in line for line in lines)


def test_stages_that_one_command_fixes_are_told_it_once() -> None:
    many = [failed(f"eval-{i}") for i in range(8)]
    console = Console(file=io.StringIO(), width=80)
    show(status(*many, failed("m1", "wmss retry run --slurm train.mem_gb=64")), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("fix: wmss retry run\n") == 1
    assert text.count("fix: ") == 2
    assert all(f"eval-{i} (job 7): failed with exit code 5: no data" in text for i in range(8))
    # The logs of all would hide what they have in common.
    assert text.count("line 4") == 3


def test_tasks_that_were_cancelled_are_counted() -> None:
    array = stage("eval", "running").model_copy(
        update={"tasks": Counts(done=1, running=2, failed=1, cancelled=3, total=9)}
    )
    assert "1/9, 2 run, 1 failed, 3 cancelled" in " ".join(screen(status(array), width=120))


@pytest.mark.parametrize(
    ("spent", "text"),
    [(0.0, "0.00"), (0.0004, "<0.001"), (0.004, "0.004"), (0.25, "0.25"), (1234.56, "1,234.6")],
)
def test_gpu_hours_of_short_jobs_are_not_nothing(spent: float, text: str) -> None:
    assert hours(spent) == text
