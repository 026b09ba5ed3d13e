"""Benchmark questions are found in training samples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wmss_cli.data.contamination import Benchmarks, Match, Question

LONG = "Janet has 16 ducks that lay one egg a day, and sells all but three of them."
SHORT = "What is 2 + 2?"


@pytest.fixture
def benchmarks() -> Benchmarks:
    return Benchmarks([Question("eggs", "e1", LONG), Question("sums", "s1", SHORT)])


def test_thirteen_words_in_a_row_are_found_wherever_they_stand(benchmarks: Benchmarks) -> None:
    twelve = "Janet has 16 ducks that lay one egg a day, and sells"
    thirteen = twelve + " all"
    part = "janet has 16 ducks that lay one egg a day and sells all"
    assert benchmarks.match(f"Say: {thirteen} her eggs.", "x") == Match("eggs", "e1", part)
    assert benchmarks.match("Think!", f"We know that {thirteen.upper()}.") == Match(
        "eggs", "e1", part
    )
    assert benchmarks.match(f"Say: {twelve} none.", "x") is None


def test_a_short_question_is_met_by_a_prompt_that_equals_it(benchmarks: Benchmarks) -> None:
    assert benchmarks.match("what is  2+2", "4") == Match("sums", "s1", "equal")
    assert benchmarks.match("What is 2 + 2 + 2?", "6") is None
    assert benchmarks.match("What is 2 * 2?", "4") is None
    assert benchmarks.match("Guess.", SHORT) is None


def test_a_question_without_words_meets_nothing() -> None:
    assert Benchmarks([Question("odd", "o1", "???")]).match("...", "…") is None


def test_a_chinese_question_is_found_inside_a_prompt() -> None:
    question = "小明有三个苹果、他又买了五个苹果、一共有多少个苹果。"
    benchmarks = Benchmarks([Question("cn", "c1", question)])
    assert benchmarks.match(f"请解答「{question}」谢谢", "") is not None
    assert benchmarks.match("小明有三个梨。", "") is None


def test_the_three_test_rows_of_gsm8k_that_are_known_to_be_in_its_training_set(
    shared_data: Path,
) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (shared_data / f"{name}.jsonl").open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    tests = [Question("gsm8k", row["id"], row["question"]) for row in rows("gsm8k")]
    benchmarks = Benchmarks(tests)
    found = [benchmarks.match(row["question"], "") for row in rows("gsm8k_train")]
    met = {match.id for match in found if match is not None}
    assert met == {tests[i].id for i in (581, 602, 632)}
