"""Each task has its grader; together they agree with the public cases."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.answers.graders import check_answer, check_number, grader
from wmss_cli.answers.pool import Check, run_checks
from wmss_cli.evaluate.tasks import read_spec, shipped

KINDS = {
    name: read_spec(path).grader
    for name, path in shipped().items()
    if read_spec(path).grader in ("math", "number", "choice")
}
"""The tasks that ship and whose answers are no programs."""

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS = ("A)23", "B)56", r"C)$\frac{1}{2}$", "D)12 km/h", "E)None of these")
FORMS = (
    r"So it is \boxed{%s}.",
    "The answer is %s.",
    "The answer is $%s$.",
    "<think>x</think> <answer>%s</answer>",
    r"<think>\boxed{7777}</think> <answer>So $$\boxed{%s}$$</answer>",
)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\textbf{(B)}\ 12}", "B"),
        ("B. 12", r"\text{B}"),
        ("The answer is (B), since 12 is even.", "(B)"),
        (r"\boxed{B}", "B) 12"),
        (r"\boxed{12}", "B) 12"),
        (r"\boxed{A, B \text{ and } D}", "ABD"),
        (r"\boxed{x + 1}", "1 + x"),
    ],
)
def test_a_reference_may_be_the_letter_of_a_choice(text: str, gold: str) -> None:
    assert check_answer(text, gold).correct


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        (r"\boxed{C}", "B"),
        ("C. 12", "B"),
        (r"\boxed{13}", "B) 12"),
        (r"\boxed{B \text{ or } C}", "B"),
        (r"\boxed{A, B}", "ABD"),
        (r"\boxed{B = 5}", "B"),
    ],
)
def test_another_letter_is_wrong(text: str, gold: str) -> None:
    verdict = check_answer(text, gold)
    assert (verdict.correct, verdict.reason) == (False, "wrong_answer")


@pytest.mark.parametrize(
    ("answer", "correct"),
    [
        (r"\frac{11}{6}", True),
        (r"1\frac{5}{6}", True),
        ("1.8333", True),
        ("1.83", True),
        ("1.83 inches", True),
        ("1.84", False),
        ("1.8", False),
        ("2", False),
    ],
)
def test_a_number_may_be_rounded_to_two_decimals(answer: str, correct: bool) -> None:
    assert check_number(rf"\boxed{{{answer}}}", "1.8333333333333335").correct == correct


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6))
def test_whole_numbers_are_not_rounded(answer: int, gold: int) -> None:
    assert check_number(rf"\boxed{{{answer}}}", str(gold)).correct == (answer == gold)


@pytest.mark.parametrize("task", [*KINDS, "a task of my own"])
def test_graders_travel_to_another_process(task: str) -> None:
    gold = "A" if KINDS.get(task) == "choice" else "23"
    grade = pickle.loads(pickle.dumps(grader(KINDS.get(task, "math"), options=OPTIONS)))
    assert grade(r"\boxed{23}", gold).correct


def test_the_documented_kinds_are_those_of_the_code() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \|", (DOCS / "grading.md").read_text(encoding="utf-8"), re.M
    )
    assert dict(rows) == KINDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "letters", "share"), [("grading_cases", "g", 0.98), ("grading_cases_2", "[inp]", 0.96)]
)
def test_agrees_with_the_cases_but_for_those_in_the_docs(
    shared_data: Path, file: str, letters: str, share: float
) -> None:
    cases = read(shared_data, file)
    checks = [
        (
            case,
            Check(
                grader(KINDS.get(case["task"], "math"), case.get("options")),
                case["response"],
                case["gold"],
            ),
        )
        for case in cases
    ]
    verdicts = list(run_checks(checks, workers=2, timeout_s=10.0))
    wrong = [case for case, verdict in verdicts if verdict.correct != case["expected"]]  # type: ignore[union-attr]
    assert len(wrong) <= (1 - share) * len(cases)
    text = (DOCS / "grading.md").read_text(encoding="utf-8")
    argued = re.findall(rf"^\| `({letters}\d+)` \|", text, re.M)
    assert [case["id"] for case in wrong] == argued


@pytest.mark.slow
@pytest.mark.parametrize("task", list(KINDS))
def test_references_equal_themselves_and_no_other(shared_data: Path, task: str) -> None:
    checks = list(self_checks(task, read(shared_data, task)))
    wrong = [
        (text, gold, verdict)
        for (expected, text, gold), verdict in run_checks(checks, workers=2, timeout_s=20.0)
        if verdict is None or verdict.correct != expected
    ]
    assert wrong == []


def self_checks(
    task: str, rows: list[dict[str, Any]]
) -> Iterator[tuple[tuple[bool, str, str], Check]]:
    """Yield each reference in all forms, and one other reference for it."""
    golds = [str(row["answer"]) for row in rows]
    others = random.Random(0).sample(golds, len(golds))
    for row, gold, other in zip(rows, golds, others, strict=True):
        grade = grader(KINDS[task], row.get("options"))
        for text in (form % gold for form in FORMS):
            yield (True, text, gold), Check(grade, text, gold)
        if other != gold:
            yield (False, FORMS[0] % other, gold), Check(grade, FORMS[0] % other, gold)


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
