"""Answers of every kind of task get the verdict of their grader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wmss_cli.answers.graders import check_answer
from wmss_cli.answers.pool import Check
from wmss_cli.core.config import GradeConfig
from wmss_cli.evaluate.problems import Problem, read_problems
from wmss_cli.evaluate.tasks import Task, read_spec, shipped
from wmss_cli.programs.cases import CodeTests
from wmss_cli.programs.check import Trial
from wmss_cli.stages import judge as module
from wmss_cli.stages.judge import grade, judge

CONFIG = GradeConfig(verify_timeout_s=10.0, workers=2, unsafe_programs=False)


def problems(shared_data: Path, name: str, count: int) -> list[tuple[Task, Problem]]:
    task = read_spec(shipped()[name])
    return [(task, one) for one in read_problems(task, shared_data / f"{name}.jsonl", count)]


def graded(answers: list[tuple[tuple[Task, Problem], str]]) -> list[dict[str, Any]]:
    rows = [{"task": p.task, "id": p.id, "text": text} for (_, p), text in answers]
    known = {(p.task, p.id): (task, p) for (task, p), _ in answers}
    return grade(rows, known, CONFIG)


DOUBLE = Trial("def double(x): return 2 * x", CodeTests("assert double(2) == 4", "double"))


@pytest.mark.slow
def test_answers_programs_and_what_is_neither_keep_their_places() -> None:
    four = Check(check_answer, r"\boxed{4}", "4")
    items = list(enumerate([four, None, DOUBLE, four._replace(gold="5"), DOUBLE, None]))
    found = [(key, verdict and verdict.reason) for key, verdict in judge(items, CONFIG)]
    reasons = ["correct", None, "correct", "wrong_answer", "correct", None]
    assert found == list(enumerate(reasons))


def test_answers_need_no_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_level", lambda _: pytest.fail("a sandbox"))
    ((_, verdict),) = judge([(0, Check(check_answer, "4", "4"))], CONFIG)
    assert verdict is not None
    assert verdict.correct
    assert verdict.level is None


@pytest.mark.slow
def test_programs_and_texts_stay_in_their_order(shared_data: Path) -> None:
    (function,) = problems(shared_data, "humaneval", 1)
    (script,) = problems(shared_data, "mbpp", 1)
    (sum_,) = problems(shared_data, "gsm8k", 1)
    (letter,) = problems(shared_data, "aqua", 1)
    rows = graded(
        [
            (sum_, f"<answer>{sum_[1].answer}</answer>"),
            (function, function[1].row["canonical_solution"]),
            (letter, f"The answer is ({letter[1].answer})."),
            (script, f"Here:\n```python\n{script[1].row['code']}\n```\nDone."),
        ]
    )
    assert [row["task"] for row in rows] == ["gsm8k", "humaneval", "aqua", "mbpp"]
    assert [row["reason"] for row in rows] == ["correct"] * 4
    assert [row["sandbox"] is None for row in rows] == [True, False, True, False]
    assert rows[0]["found_in"] == "whole"


@pytest.mark.slow
def test_wrong_programs_say_why(shared_data: Path) -> None:
    (one,) = problems(shared_data, "mbpp", 1)
    name = one[1].row["test_list"][0].split("(")[0].removeprefix("assert ")
    texts = [
        f"def {name}(*args):\n    return None",
        f"def {name}(*args):\n    import os\n    os._exit(0)",
        "I do not know.",
    ]
    rows = [graded([(one, text)])[0] for text in texts]
    assert [row["reason"] for row in rows] == ["failed", "exit_early", "no_code"]
    assert not any(row["correct"] for row in rows)


@pytest.mark.slow
def test_thinking_is_not_run(shared_data: Path) -> None:
    (one,) = problems(shared_data, "humaneval", 1)
    right = json.dumps(one[1].row["canonical_solution"])
    draft = f"<think>```python\n{right}\n```</think><answer>```python\nx = 1\n```</answer>"
    (row,) = graded([(one, draft)])
    assert not row["correct"]
