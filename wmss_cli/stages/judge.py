"""The one way to a verdict: answers are compared, programs are run against tests.

Curation uses it for its records, and evaluation and ``wmss grade`` for answers to benchmarks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from wmss_cli.answers.graders import grader
from wmss_cli.answers.pool import Check, run_checks
from wmss_cli.core.config import CurateConfig, EvalConfig, GradeConfig
from wmss_cli.core.verdict import Verdict
from wmss_cli.evaluate.problems import Problem
from wmss_cli.evaluate.tasks import Task
from wmss_cli.programs.cases import humaneval_tests, mbpp_tests
from wmss_cli.programs.check import Trial, check_programs
from wmss_cli.programs.completion import complete, extract_code
from wmss_cli.programs.sandbox import find_level, limits_of

K = TypeVar("K")
Row = dict[str, Any]
Problems = Mapping[tuple[str, str], tuple[Task, Problem]]
"""By task and id."""

_Config = CurateConfig | EvalConfig | GradeConfig


def judge(
    items: Iterable[tuple[K, Check | Trial | None]], config: _Config
) -> Generator[tuple[K, Verdict | None], None, None]:
    """Compare answers and run programs.

    Parameters
    ----------
    items : iterable of (key, Check, Trial or None)
        The key comes back with the verdict. None passes through in its place.
    config : CurateConfig, EvalConfig or GradeConfig
        ``workers``, ``verify_timeout_s`` (beyond it an answer counts as wrong) and
        ``unsafe_programs``.

    Yields
    ------
    (key, Verdict or None)
        In the order of `items`, of which only a bounded number is in memory at any time.

    Raises
    ------
    SandboxError
        If there are programs to run, and no sandbox works.
    """
    checks = _run_programs(items, config)
    for (key, judged), verdict in run_checks(checks, config.workers, config.verify_timeout_s):
        yield key, judged or verdict


def _run_programs(
    items: Iterable[tuple[K, Check | Trial | None]], config: _Config
) -> Iterator[tuple[tuple[K, Verdict | None], Check | None]]:
    """Judge the programs; pass the others on, in their order."""
    left = iter(items)
    for key, item in left:
        if isinstance(item, Trial):
            break
        yield (key, None), item
    else:
        return
    # Only now, since answers need no sandbox.
    level = find_level(config.unsafe_programs)
    trials = (
        ((key, None), item) if isinstance(item, Trial) else ((key, item), None)
        for key, item in chain([(key, item)], left)
    )
    limits = limits_of(config.verify_timeout_s)
    for (key, check), verdict in check_programs(trials, config.workers, limits, level):
        yield (key, verdict), check


def grade(rows: Sequence[Row], problems: Problems, config: EvalConfig | GradeConfig) -> list[Row]:
    """Add the columns of the grading to answers.

    Parameters
    ----------
    rows : sequence of dict
        With `task`, `id` and `text`.
    problems : mapping
        The problems that were answered.
    config : EvalConfig or GradeConfig
        See :func:`judge`.

    Returns
    -------
    list of dict
        In the order of `rows`.
    """
    items = ((row, _item(row["text"], *problems[row["task"], row["id"]])) for row in rows)
    return [_graded(row, verdict) for row, verdict in judge(items, config)]


def _graded(row: Row, verdict: Verdict | None) -> Row:
    assert verdict is not None
    return {
        **row,
        "extracted": verdict.extracted,
        "correct": verdict.correct,
        "reason": verdict.reason,
        "found_in": verdict.found_in,
        "sandbox": verdict.level,
    }


def _item(text: str, task: Task, problem: Problem) -> Check | Trial:
    row = problem.row
    if task.grader == "humaneval":
        tests = humaneval_tests(row["test"], row["entry_point"])
        return Trial(complete(row["prompt"], text, row["entry_point"], tests.used), tests)
    if task.grader == "mbpp":
        imports, setup = row.get("test_imports", ()), row.get("test_setup_code", "")
        tests = mbpp_tests(row["test_list"], setup, imports)
        return Trial(extract_code(text, tests.entry_point, tests.used), tests)
    return Check(grader(task.grader, row.get("options")), text, problem.answer)
