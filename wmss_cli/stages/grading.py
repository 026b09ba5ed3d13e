"""Grade answers by the graders of their tasks; the same for new answers and for old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.problems import Problem
from wmss_cli.evaluate.tasks import Task
from wmss_cli.verify.answer import Verdict, check_math
from wmss_cli.verify.graders import check_choice, check_number
from wmss_cli.verify.pool import Check, run_checks

Row = dict[str, Any]


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
            "found_in": verdict.found_in,
        }


def _check(row: Row, task: Task, problem: Problem) -> Check:
    return Check(_grader(task, problem), row["text"], problem.answer)


def _grader(task: Task, problem: Problem) -> Callable[[str, str], Verdict]:
    match task.grader:
        case "math":
            return check_math
        case "number":
            return check_number
        case "choice":
            return partial(check_choice, options=tuple(problem.row["options"]))
    raise ConfigError(f"task {task.name}: nothing here grades {task.grader} yet")
