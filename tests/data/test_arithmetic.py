"""The demo's problems: right, within their bounds, and disjoint between training and test."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmss_cli.data import arithmetic
from wmss_cli.data.arithmetic import Record

COMPLETION = re.compile(r"<think>(.+)</think>\n<answer>(\d+)</answer>", re.DOTALL)
EQUATION = re.compile(r"(\d+)([+-])(\d+)=(\d+)")
seeds = st.integers(0, 2**32)


def question(record: Record) -> str:
    return str(record["messages"][0]["content"])


def reference(record: Record) -> str | None:
    answer: str | None = record["messages"][0]["info"]["reference_answer"]
    return answer


def completion(record: Record) -> str:
    return str(record["messages"][1]["content"])


def reasoning(text: str) -> list[str]:
    """Work out a word problem from its text alone, one equation a step."""
    value = int(re.findall(r"has (\d+)", text)[0])
    lines = []
    for verb, number, more in re.findall(r", (\w+) (\d+)( more)?", text):
        assert (verb in ("buys", "finds", "gets", "wins")) == bool(more)
        result = value + int(number) if more else value - int(number)
        lines.append(f"{value}{'+' if more else '-'}{number}={result}")
        value = result
    return lines


def solve(text: str) -> int:
    return int(reasoning(text)[-1].split("=")[1])


def equations(record: Record) -> list[str]:
    match = COMPLETION.fullmatch(completion(record))
    assert match, completion(record)
    return match[1].split("\n")


def assert_true_and_within_bounds(equation: str) -> None:
    match = EQUATION.fullmatch(equation)
    assert match, equation
    value, operand, result = int(match[1]), int(match[3]), int(match[4])
    assert result == (value + operand if match[2] == "+" else value - operand)
    assert 1 <= operand <= 20
    assert 0 <= value <= 99
    assert 0 <= result <= 99


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_reasoning_is_right_and_leads_to_the_answer(seed: int) -> None:
    for record in arithmetic.train_records(20, seed, wrong_fraction=0.0):
        lines = equations(record)
        assert 2 <= len(lines) <= 4
        for line in lines:
            assert_true_and_within_bounds(line)
        assert lines == reasoning(question(record))
        assert lines[-1].split("=")[1] == reference(record)
        assert completion(record).endswith(f"<answer>{reference(record)}</answer>")


def test_pretraining_has_all_parts_but_not_the_task() -> None:
    lengths = Counter()
    for record in arithmetic.pretrain_records(400, seed=0):
        lines = equations(record)
        lengths[len(lines)] += 1
        for line in lines:
            assert_true_and_within_bounds(line)
        assert completion(record).endswith(f"<answer>{reference(record)}</answer>")
        if " computes " in question(record):
            assert lines[0].split("=") == [question(record).split()[-1][:-1], reference(record)]
        else:
            assert solve(question(record)) == int(str(reference(record)))
            # Only a single equation stands where it belongs.
            assert len(lines) == 1 or lines != reasoning(question(record))
    assert lengths[1] == 300
    assert lengths.keys() == {1, 2, 3, 4}


def test_too_many_of_a_kind_is_an_error_and_not_a_hang() -> None:
    with pytest.raises(AssertionError, match="barely more than"):
        arithmetic.pretrain_records(60_000, seed=0)


def test_train_and_test_are_disjoint_whatever_the_seeds() -> None:
    asked = {
        question(record)
        for seed in range(3)
        for record in (
            *arithmetic.train_records(500, seed, wrong_fraction=0.2),
            *arithmetic.pretrain_records(500, seed),
        )
    }
    tested = {row["question"] for seed in range(3) for row in arithmetic.test_problems(500, seed)}
    assert not asked & tested
    assert all(map(arithmetic.is_test_question, tested))
    assert not any(map(arithmetic.is_test_question, asked))


def test_test_problems_have_distinct_ids_and_questions_and_right_answers() -> None:
    rows = arithmetic.test_problems(200, seed=0)
    assert len({row["id"] for row in rows}) == len({row["question"] for row in rows}) == 200
    assert all(row["answer"] == str(solve(row["question"])) for row in rows)


def test_every_kind_of_fault_exists_and_is_counted() -> None:
    records = arithmetic.train_records(1000, seed=0, wrong_fraction=0.1)
    lines = [json.dumps(record) for record in records]
    matches = [COMPLETION.fullmatch(completion(record)) for record in records]
    faults = {
        "copy": len(lines) - len(set(lines)),
        "no reference": sum(reference(record) is None for record in records),
        "wrong answer": sum(
            match is not None and reference(record) not in (None, match[2])
            for match, record in zip(matches, records, strict=True)
        ),
        "cut short": sum("</think>" not in completion(record) for record in records),
        "no answer tags": sum(
            "</think>" in completion(record) and "<answer>" not in completion(record)
            for record in records
        ),
    }
    assert len(records) == 1000
    assert faults == dict.fromkeys(faults, 20)


def test_without_faults_no_question_comes_twice() -> None:
    records = arithmetic.train_records(1000, seed=3, wrong_fraction=0.0)
    assert len({question(record) for record in records}) == 1000


def test_the_same_seed_gives_the_same_and_another_seed_does_not() -> None:
    def everything(seed: int) -> str:
        train = arithmetic.train_records(50, seed, 0.2)
        return json.dumps(
            [
                arithmetic.pretrain_records(50, seed),
                list(arithmetic.json_lines(train, 5, seed)),
                arithmetic.test_problems(50, seed),
            ]
        )

    assert everything(1) == everything(1)
    assert everything(1) != everything(2)


def test_broken_lines_are_no_json_and_leave_the_others_whole() -> None:
    records = arithmetic.train_records(30, seed=0, wrong_fraction=0.0)
    whole, broken = [], 0
    for line in arithmetic.json_lines(records, broken=4, seed=0):
        assert line.endswith("\n")
        try:
            whole.append(json.loads(line))
        except json.JSONDecodeError:
            broken += 1
    assert whole == records
    assert broken == 4


@pytest.mark.parametrize("role", [0, 1])
def test_records_have_the_keys_of_am_1_4m(role: int) -> None:
    (record,) = arithmetic.train_records(1, seed=0, wrong_fraction=0.0)
    message = record["messages"][role]
    assert message["role"] == ("user", "assistant")[role]
    assert list(message["info"]) == [
        "source",
        "reference_answer",
        "test_case",
        "think_content",
        "answer_content",
    ]
