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

from wmss_cli.evaluate.tasks import read_spec, shipped
from wmss_cli.verify.answer import Verdict
from wmss_cli.verify.graders import check_answer, check_choice, check_number, grader
from wmss_cli.verify.pool import Check, run_checks

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
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(b)}}", "B"),
        (r"\boxed{\textbf{(B) }56}", "B"),
        ("The answer is (B).", "B"),
        ("The answer is b.", "B"),
        ("The answer is\n\nB", "B"),
        ("Let A = 3 and B = 4. Then the answer is C.", "C"),
        ("The answer is A, no wait, the answer is B", "B"),
        ("The answer is for sure D, it can't be A or B", "D"),
        ("It's not A, therefore I think it's B", "B"),
        ("(A) 23 is too small. (C) is too small. So (B).", "B"),
        ("A car has 4 wheels, so option A is right.", "A"),
        ("E = mc^2 so A", "A"),
        ("B不是 A", "B"),
        (r"\boxed{56.0}", "B"),
        (r"\boxed{12\text{ km/h}}", "D"),
        (r"\boxed{12}", "D"),
        (r"\boxed{0.5}", "C"),
        (r"\boxed{50\%}", "C"),
        ("None of these", "E"),
        ("The answer is none of these.", "E"),
        ("A car drives 23 km. Its speed is 56.", "B"),
    ],
)
def test_a_choice_is_a_letter_or_the_value_of_its_option(text: str, letter: str) -> None:
    for gold in "ABCDE":
        assert check_choice(text, gold, OPTIONS).correct == (gold == letter)


@pytest.mark.parametrize(
    "text",
    [
        "A or B",
        r"\boxed{A, B}",
        "The answer is A or B.",
        r"\boxed{24}",
        "I do not know",
        "<think>B",
        r"<think>\boxed{B}</think>",
        "F",
        "",
    ],
)
def test_what_chooses_nothing_is_wrong(text: str) -> None:
    assert not any(check_choice(text, gold, OPTIONS).correct for gold in "ABCDE")


@pytest.mark.parametrize(
    "text",
    [
        "A takes 12 hours and B takes 60. Together they need 56 hours.",
        "A has 5 and B has 3. So it is 56.",
        "Person A works for 12 days and person B for 15; together 56.",
        "A and B together take 56.",
        "B is faster than A. The answer is 56.",
        "A takes 12 days, so the answer is B.",
        "A takes 12 days. Therefore (B).",
    ],
)
def test_persons_are_no_choices(text: str) -> None:
    assert [gold for gold in "ABCDE" if check_choice(text, gold, OPTIONS).correct] == ["B"]


@pytest.mark.parametrize(
    "form",
    [
        *(
            r"\boxed{\text{B) } 56}",
            r"\boxed{\text{(B) 56}}",
            r"\boxed{[B]}",
            r"\boxed{\text{B: 56}}",
        ),
        *("The answer is 56 (B).", "**(B) 56**", "【B】", "（B）", "Ⓑ", "选B。", "故选：B"),  # noqa: RUF001
        *("The answer is: B - 56", r"\boxed{56 \text{ (B)}}", "Option B: 56", "B. 56 is right"),
    ],
)
def test_labels_in_brackets_and_in_text(form: str) -> None:
    assert [gold for gold in "ABCDE" if check_choice(form, gold, OPTIONS).correct] == ["B"]


def test_a_label_with_the_value_of_another_option_chooses_nothing() -> None:
    assert not any(check_choice("(C) 56", gold, OPTIONS).correct for gold in "ABCDE")


def test_a_choice_says_where_it_was_found() -> None:
    assert check_choice(r"\boxed{B}", "B") == Verdict(True, "B", "correct", "boxed")
    assert check_choice("I take B", "A") == Verdict(False, "B", "wrong_answer", "last_letter")
    assert check_choice("A or B", "A") == Verdict(False, "A or B", "wrong_answer", "last_letter")
    assert check_choice("nothing", "A") == Verdict(False, None, "no_answer")


@pytest.mark.parametrize("gold", ["C", "(C)", "C) 23", "C Cecile", "The answer is\n(C) Cecile"])
def test_the_reference_may_have_the_text_of_its_option(gold: str) -> None:
    assert check_choice("C", gold).correct
    assert not check_choice("B", gold).correct


def test_a_reference_without_a_letter_is_a_bad_one() -> None:
    assert check_choice("B", "56").reason == "bad_reference"


def test_without_options_a_value_chooses_nothing() -> None:
    assert check_choice(r"\boxed{56}", "B").reason == "no_answer"


def test_two_options_of_one_value_are_not_told_apart_by_it() -> None:
    assert not check_choice(r"\boxed{0.5}", "A", ["A)1/2", "B)50%"]).correct


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
