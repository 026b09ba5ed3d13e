"""Where the answer is in a completion."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wmss_cli.answers.extract import (
    Found,
    boxes,
    extract_answer,
    is_prose,
    math_places,
    statement,
)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"<think>2 + 2</think> <answer> \boxed{4} </answer>", r"\boxed{4}"),
        ("<think>a</think><answer>first</answer> no: <answer>last</answer>", "last"),
        ("<think>2 + 2</think> It is 4.", "It is 4."),
        ("2 + 2 </think> <answer>4</answer>", "4"),
        ("It is 4.", "It is 4."),
        ("<answer>4</answer>", "4"),
        ("<think>so <answer>5</answer>?</think> <answer>4</answer>", "4"),
        ("<think>so <answer>5</answer>?</think> 4", "4"),
        (r"<think>a</think> <answer>\boxed{4</answer>", r"\boxed{4"),
        ("It is 4.</s>", "It is 4."),
        ("It is 4.<|im_end|>\n<|endoftext|>", "It is 4."),
    ],
)
def test_the_answer_follows_the_thinking(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        r"<think>so \boxed{4}",
        r"<think>a</think> <think>again \boxed{4}",
        r"<think>a</think> <answer>\boxed{4}",
        r"<think>a</think> It is 14. So \boxed{1",
        r"So \boxed{\frac{1}{2}",
        "<think>a</think> <answer> </answer>",
        "<think>a</think>",
        "",
    ],
)
def test_what_is_unfinished_or_empty_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None


@given(st.text(), st.text().filter(lambda text: "<" not in text))
def test_finds_whatever_is_in_the_tags(thinking: str, answer: str) -> None:
    text = f"<think>{thinking}</think><answer>{answer}</answer>"
    assert extract_answer(text) == (answer.strip() or None)


balanced = st.recursive(
    st.text("x1+ "), lambda inner: st.lists(inner).map(lambda parts: f"{{{''.join(parts)}}}")
)


@settings(max_examples=30)
@given(st.lists(balanced, max_size=3))
def test_finds_all_boxes_with_balanced_braces(contents: list[str]) -> None:
    text = " and ".join(rf"\boxed{{{content}}}" for content in contents)
    assert boxes(text) == contents


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\fbox{4}", ["4"]),
        (r"\boxed 4", ["4"]),
        (r"\boxed {4}", ["4"]),
        (r"$\boxed{12 $ and $13 }.$", ["12 $ and $13 "]),
        (r"\boxed{}", [""]),
        (r"\boxed{\left\{ x \right.}", [r"\left\{ x \right."]),
        (r"\boxed{\{1\}} and \boxed{2}", [r"\{1\}", "2"]),
        (r"\boxed{4", ["4"]),
        ("no box", []),
    ],
)
def test_boxes_in_other_writings(text: str, found: list[str]) -> None:
    assert boxes(text) == found


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("The answer is 4.", "4."),
        ("So the final answer is: $4$", "$4$"),
        ("**Answer:** 4 apples", "4 apples"),
        ("The answer to the question is 4", "4"),
        ("The answer is 5, no: the answer is 4", "4"),
        ("2 + 2 = 4\n#### 4", "4"),
        ("The answer is\n\n4", "4"),
        ("La réponse est 4", "4"),
        ("答案是4", "4"),
        ("I answered 4 questions.", None),
        ("It is 4.", None),
    ],
)
def test_a_statement_is_what_follows_the_last_answer_word(text: str, stated: str | None) -> None:
    assert statement(text) == stated


@pytest.mark.parametrize(
    ("answer", "places"),
    [
        (r"The answer is 5. \boxed{4}", [Found("boxed", ("4",))]),
        (r"\boxed{4}, or \boxed{5}, or \boxed{4}", [Found("boxed", ("4", "4, 5"))]),
        (r"x = \frac{1}{2}", [Found("whole", (r"x = \frac{1}{2}",))]),
        ("18 dollars", [Found("whole", ("18 dollars",))]),
        ("The answer is 4.", [Found("statement", ("4",)), Found("last_number", ("4",))]),
        ("比例为13/28", [Found("last_number", ("13/28",))]),  # "the ratio is"
        (r"Thus \(x = 5\).", [Found("prose", ("x = 5",))]),
        ("She has 1,200 of them, 3 more.", [Found("last_number", ("3",))]),
        ("The least value is $-4$ (at $x = 2$).", [Found("prose", ("-4",))]),
        ("Its roots are 3, 1/2 and -2.", [Found("prose", ("3, 1/2, -2",))]),
        (
            r"So \boxed{255} people. **Final answer:** 10,455",
            [Found("statement", ("10,455",)), Found("boxed", ("255",))],
        ),
        (r"\boxed{4}. The answer is in the box.", [Found("boxed", ("4",))]),
    ],
)
def test_places_come_in_their_order(answer: str, places: list[Found]) -> None:
    found = list(math_places(answer))
    assert found[-len(places) :] == places


@pytest.mark.parametrize(
    ("text", "prose"),
    [
        (r"3\sqrt{13}", False),
        ("5 apples", False),
        (r"5\text{ miles per hour}", False),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", False),
        ("Evelyn", False),
        ("Therefore 5", True),
        ("actually 5", True),
        ("5! Great", True),
        ("5. Hence", True),
        ("sin 5", False),
        ("arctan 5", False),
        ("It is 5", True),
        ("$5$", True),
        ("1\n2", True),
        ("比例为", True),
    ],
)
def test_prose_has_words_or_marks_its_formulas(text: str, prose: bool) -> None:
    assert is_prose(text) == prose


@pytest.mark.parametrize("text", ["$", "$1", r"\(", r"\[", "$1$ and ", "$1$, ", r"\(1\) ", " "])
def test_a_model_that_repeats_itself_costs_no_time(text: str) -> None:
    assert list(math_places(text * 3000)) is not None
