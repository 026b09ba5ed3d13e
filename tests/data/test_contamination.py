"""Benchmark questions are found in training samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from copied import FORMS, STOCK

from wmss_cli.data.contamination import COMMON, Benchmarks, Match, Question

LONG = "Janet has 16 ducks that lay one egg a day, and sells all but three of them."
SHORT = "What is 2 + 2?"


NINE = ("gsm8k", "math500", "aime2025", "amc23", "aqua", "mawps", "svamp", "humaneval", "mbpp")


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    with (folder / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def nine(shared_data: Path) -> list[Question]:
    """The questions of the paper's benchmarks."""
    return [
        Question(name, row["id"], row.get("question") or row["prompt"])
        for name in NINE
        for row in rows(shared_data, name)
        if row.get("split", "test") == "test"
    ]


@pytest.fixture(scope="module")
def all_nine(nine: list[Question]) -> Benchmarks:
    return Benchmarks(nine)


@pytest.fixture
def benchmarks() -> Benchmarks:
    return Benchmarks([Question("eggs", "e1", LONG), Question("sums", "s1", SHORT)])


def match(benchmarks: Benchmarks, prompt: str, completion: str) -> Match | None:
    """Return the first question that a sample matches, if no other samples are known."""
    met = benchmarks.overlap(prompt, completion)
    return met.whole or next(map(benchmarks.name, met.phrases), None)


def test_thirteen_words_in_a_row_are_found_wherever_they_stand(benchmarks: Benchmarks) -> None:
    twelve = "Janet has 16 ducks that lay one egg a day, and sells"
    thirteen = twelve + " all"
    part = "janet has 16 ducks that lay one egg a day and sells all"
    assert match(benchmarks, f"Say: {thirteen} her eggs.", "x") == Match("eggs", "e1", part)
    assert match(benchmarks, "Think!", f"We know that {thirteen.upper()}.") == Match(
        "eggs", "e1", part
    )
    assert match(benchmarks, f"Say: {twelve} none.", "x") is None


def test_a_short_question_is_met_by_a_prompt_that_equals_it(benchmarks: Benchmarks) -> None:
    assert match(benchmarks, "what is  2+2", "4") == Match("sums", "s1", "equal")
    assert match(benchmarks, "What is 2 + 2 + 2?", "6") is None
    assert match(benchmarks, "What is 2 * 2?", "4") is None
    assert match(benchmarks, "Guess.", SHORT) is None


def test_a_question_without_words_meets_nothing() -> None:
    assert match(Benchmarks([Question("odd", "o1", "???")]), "...", "…") is None


def test_a_chinese_question_is_found_inside_a_prompt() -> None:
    question = "小明有三个苹果、他又买了五个苹果、一共有多少个苹果。"
    benchmarks = Benchmarks([Question("cn", "c1", question)])
    assert match(benchmarks, f"请解答「{question}」谢谢", "") is not None
    assert match(benchmarks, "小明有三个梨。", "") is None


def test_the_three_test_rows_of_gsm8k_that_are_known_to_be_in_its_training_set(
    shared_data: Path,
) -> None:
    tests = [Question("gsm8k", row["id"], row["question"]) for row in rows(shared_data, "gsm8k")]
    benchmarks = Benchmarks(tests)
    found = [match(benchmarks, row["question"], "") for row in rows(shared_data, "gsm8k_train")]
    met = {match.id for match in found if match is not None}
    assert met == {tests[i].id for i in (581, 602, 632)}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_copied_question_is_found_however_it_is_written(
    nine: list[Question], all_nine: Benchmarks, form: str
) -> None:
    some = nine[::7]
    missed = [one for one in some if match(all_nine, *FORMS[form](one.text)) is None]
    # What is missed is a few words long, such as "Write a function to find the volume of a cube."
    assert len(missed) <= (0 if form in {"as it is", "other white space"} else 0.01 * len(some))


@pytest.mark.slow
def test_stock_sentences_contaminate_no_other_problem(
    all_nine: Benchmarks, shared_data: Path
) -> None:
    problems = [row["question"] for row in rows(shared_data, "gsm8k_train")[:1000]]
    problems = [problem for problem in problems if match(all_nine, problem, "") is None]
    assert len(problems) == 998
    for stock in STOCK:
        assert [p for p in problems if match(all_nine, f"{p} {stock}", "")] == []


@pytest.mark.parametrize("stock", STOCK)
def test_not_even_where_the_benchmark_is_one_question_that_ends_with_it(stock: str) -> None:
    benchmarks = Benchmarks([Question("own", "q1", f"{LONG} {stock}")])
    assert match(benchmarks, f"Nine knights cross a bridge in pairs. {stock}", "") is None
    assert match(benchmarks, f"Anna has {LONG.removeprefix('Janet has ')} {stock}", "")


def test_a_question_inside_a_prompt_is_found_by_whole_sentences(benchmarks: Benchmarks) -> None:
    benchmarks = Benchmarks(
        [
            Question("math", "m1", r"What is $\dfrac{9}{2}$ as a decimal?"),
            Question("code", "c1", "Write a function to swap two numbers."),
            Question("math", "m2", r"Compute $58_9 - 18_9.$ Express your answer in simplest form."),
            Question("vague", "v1", "What is the value of x?"),
        ]
    )
    found = Match("math", "m1", "equal")
    assert match(benchmarks, "Please answer. What is 9/2 as a decimal? Think.", "") == found
    assert (
        match(benchmarks, "**Problem.** What is $\\frac92$ as a decimal?\n\nAnswer:", "") == found
    )
    assert match(benchmarks, "Hi!", "<think>\nWhat is 9/2 as a decimal?\nWell") == found
    assert match(benchmarks, "What is 9*2 as a decimal? Think.", "") is None
    assert match(benchmarks, "Write a function to swap two numbers in a tuple.", "") is None
    assert match(benchmarks, "Write a function to swap two numbers.\nName it f.", "") is not None
    # How the answer is wanted may be left out; a question that says nothing is met as a whole.
    assert match(benchmarks, "Hello. Compute 58_9 - 18_9. Be short.", "") is not None
    assert match(benchmarks, "Let x = 3. What is the value of x?", "") is None
    assert match(benchmarks, "What is the value of $x$?", "") == Match("vague", "v1", "equal")


def test_drawings_and_names_of_commands_are_no_words() -> None:
    drawing = '[asy] label("$A$", A, N); label("$B$", B, SW); label("$C$", C, SE); dot(A); [/asy]'
    benchmarks = Benchmarks([Question("math", "m1", f"Find the angle at A. {drawing}")])
    assert match(benchmarks, f"Find the area of the circle. {drawing}", "") is None
    formula = r"$\frac{\sqrt{\overline{AB}}}{\sqrt{\left(x\right)}} + \frac{\sqrt{2}}{\sqrt{3}}$"
    benchmarks = Benchmarks([Question("math", "m1", f"Find the length of {formula}.")])
    assert match(benchmarks, f"Tell the colour of {formula}.", "") is None


def test_a_phrase_is_common_where_the_benchmarks_have_it_in_other_problems() -> None:
    rule = "Two seatings are considered the same if one is a rotation of the other, as usual."
    stories = ["Nine knights feast", "Ann and Bo play chess", "Five couples dine", "Dwarfs meet"]
    common = Benchmarks(
        Question("tables", str(i), f"{story} in the town hall. {rule}")
        for i, story in enumerate(stories)
    )
    prompt = f"Six parrots sing in their cage. {rule}"
    assert match(common, prompt, "") is None
    # Variants of one question are no other problems, nor are copies of it.
    variants = Benchmarks(
        Question("tables", str(n), f"{n} knights feast around the kitchen table. {rule}")
        for n in (7, 7, 8, 9, 10)
    )
    assert match(variants, prompt, "") is not None
    assert COMMON == 3


def test_what_a_sample_tells_around_a_phrase_says_if_it_is_another_problem(
    benchmarks: Benchmarks,
) -> None:
    question = f"{LONG} How much money does Janet make with the rest on Friday's market in Ulm?"
    benchmarks = Benchmarks([Question("eggs", "e1", question)])
    other = f"{LONG[:60]} sells all to Bob. Who is richer?"
    overlap = benchmarks.overlap(other, "")
    assert overlap.phrases
    assert overlap.apart == overlap.phrases
    same = question.replace("Janet", "Anna").replace("16", "20")
    overlap = benchmarks.overlap(
        f"Anna has 16 ducks that lay one egg a day, and sells all. {same}", ""
    )
    assert overlap.phrases
    assert overlap.apart == ()
