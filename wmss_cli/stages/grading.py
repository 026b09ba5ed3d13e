"""Grade answers by the graders of their tasks; the same for new answers and for old ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from wmss_cli.core.config import EvalConfig, GradeConfig
from wmss_cli.evaluate.problems import Problem
from wmss_cli.evaluate.tasks import Task
from wmss_cli.verify.cases import CodeTests, humaneval_tests, mbpp_tests
from wmss_cli.verify.completion import complete, extract_code
from wmss_cli.verify.graders import Kind, grader
from wmss_cli.verify.pool import Check, run_checks
from wmss_cli.verify.program import check_programs
from wmss_cli.verify.sandbox import find_level, limits_of

Row = dict[str, Any]
Problems = Mapping[tuple[str, str], tuple[Task, Problem]]
"""By task and id."""

_PROGRAMS = ("humaneval", "mbpp")


def grade(rows: Sequence[Row], problems: Problems, config: EvalConfig | GradeConfig) -> list[Row]:
    """Add the columns of the grading to answers.

    Parameters
    ----------
    rows : sequence of dict
        With `task`, `id` and `text`.
    problems : mapping
        That the answers are to.
    config : EvalConfig or GradeConfig
        ``workers``, ``verify_timeout_s`` (past it an answer counts as wrong) and
        ``unsafe_programs``.

    Returns
    -------
    list of dict
        In the order of `rows`.

    Raises
    ------
    SandboxError
        If there are programs to run, and no sandbox works.
    """
    programs = [_grader_of(row, problems) in _PROGRAMS for row in rows]
    texts = [row for row, is_program in zip(rows, programs, strict=True) if not is_program]
    code = [row for row, is_program in zip(rows, programs, strict=True) if is_program]
    graded_texts = _grade_texts(texts, problems, config)
    graded_code = _grade_programs(code, problems, config)
    return [next(graded_code if is_program else graded_texts) for is_program in programs]


def _grader_of(row: Row, problems: Problems) -> str:
    return problems[row["task"], row["id"]][0].grader


def _grade_texts(
    rows: Sequence[Row], problems: Problems, config: EvalConfig | GradeConfig
) -> Iterator[Row]:
    checks = ((row, _check(row["text"], *problems[row["task"], row["id"]])) for row in rows)
    for row, verdict in run_checks(checks, config.workers, config.verify_timeout_s):
        assert verdict is not None
        yield {
            **row,
            "extracted": verdict.extracted,
            "correct": verdict.correct,
            "reason": verdict.reason,
            "found_in": verdict.found_in,
            "sandbox": None,
        }


def _check(text: str, task: Task, problem: Problem) -> Check:
    assert task.grader not in _PROGRAMS
    kind = cast(Kind, task.grader)
    return Check(grader(kind, problem.row.get("options")), text, problem.answer)


def _grade_programs(
    rows: Sequence[Row], problems: Problems, config: EvalConfig | GradeConfig
) -> Iterator[Row]:
    if not rows:
        return
    level = find_level(config.unsafe_programs)
    items = []
    for row in rows:
        program, tests = _program(row["text"], *problems[row["task"], row["id"]])
        items.append(((row, program), program, tests))
    limits = limits_of(config.verify_timeout_s)
    for (row, program), verdict in check_programs(items, config.workers, limits, level):
        yield {
            **row,
            "extracted": program,
            "correct": verdict.correct,
            "reason": "correct" if verdict.correct else verdict.reason,
            "found_in": None,
            "sandbox": verdict.level,
        }


def _program(text: str, task: Task, problem: Problem) -> tuple[str | None, CodeTests]:
    row = problem.row
    if task.grader == "humaneval":
        tests = humaneval_tests(row["test"], row["entry_point"])
        return complete(row["prompt"], text, row["entry_point"], tests.used), tests
    imports, setup = row.get("test_imports", ()), row.get("test_setup_code", "")
    tests = mbpp_tests(row["test_list"], setup, imports)
    return extract_code(text, tests.entry_point, tests.used), tests
