"""Grade answers by the graders of their tasks; the same for new answers and for old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.problems import Problem
from wmss_cli.evaluate.tasks import Task
from wmss_cli.verify.answer import Verdict, check_math
from wmss_cli.verify.pool import Check, run_checks

Row = dict[str, Any]

_GRADERS: dict[str, Callable[[str, str], Verdict]] = {"math": check_math, "number": check_math}


def grade(
    rows: Sequence[Row],
    problems: Mapping[tuple[str, str], tuple[Task, Problem]],
    workers: int,
    timeout_s: float,
) -> Iterator[Row]:
    """Add the columns of the grading to answers.

    Parameters
    ----------
    rows : sequence of dict
        With `task`, `id` and `text`.
    problems : mapping
        By task and id.
    workers : int
        Processes that grade.
    timeout_s : float
        Time limit of one answer, in seconds; past it the answer counts as wrong.
    """
    checks = ((row, _check(row, *problems[row["task"], row["id"]])) for row in rows)
    for row, verdict in run_checks(checks, workers, timeout_s):
        assert verdict is not None
        yield {
            **row,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "reason": verdict.reason,
        }


def _check(row: Row, task: Task, problem: Problem) -> Check:
    if task.grader not in _GRADERS:
        raise ConfigError(f"task {task.name}: nothing here grades {task.grader} yet")
    return Check(_GRADERS[task.grader], row["text"], problem.answer)
