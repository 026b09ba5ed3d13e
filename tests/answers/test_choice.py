"""Which letter a text names, and what is no letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.answers.choice import Letters, check_choice, option_texts
from wmss_cli.core.verdict import Verdict

LETTERS = Letters(5)


@given(st.sampled_from("ABCDE"))
@pytest.mark.parametrize(
    "form",
    [
        *("{}", "({})", "{})", "{}.", "**{}**", "${}$", "Option {}", "[{}]"),
        *(r"\text{{{}}}", r"\textbf{{({})}}", r"\mathrm{{{}}}"),
        *("{}) 56", "({}) 56", "{}: 56", "{}. None of these", r"\textbf{{({})}}\ 56"),
    ],
)
def test_a_text_that_is_only_a_letter(form: str, letter: str) -> None:
    assert LETTERS.only(form.format(letter)) == letter


@given(st.sampled_from("abcde"))
@pytest.mark.parametrize("form", ["{}", "({})", "{})", r"\text{{{}}}"])
def test_small_letters_stand_alone(form: str, letter: str) -> None:
    assert LETTERS.only(form.format(letter)) == letter.upper()


@pytest.mark.parametrize(
    "text", ["", "F", "E = mc^2", "A, B", "A or B", "A car", "(A), (B)", "Cecile", "AB", "56"]
)
def test_no_letter_alone(text: str) -> None:
    assert LETTERS.only(text) is None


def test_there_are_as_many_letters_as_options() -> None:
    assert Letters(4).only("E") is None
    assert Letters(6).only("F") == "F"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("I choose B", ["B"]),
        ("It's not A, therefore I think it's B", ["B"]),
        ("The answer is D, it can't be A or B", ["D"]),
        ("B不是 A", ["B"]),
        ("C non A", ["C"]),
        ("A is wrong, so (b)", ["B"]),
        ("A is right", ["A"]),
        ("Choose C rather than A", ["C"]),
        ("A, no wait, B", ["A", "B"]),
        ("A or B", [None]),
        ("A, B and C", [None]),
        ("E = mc^2 so A", ["A"]),
        ("x = A + B", []),
        ("A car and a bus", []),
        ("Cecile", []),
    ],
)
def test_letters_that_are_named_and_not_denied(text: str, named: list[str | None]) -> None:
    assert LETTERS.named(text) == named


@pytest.mark.parametrize("text", ["A or ", "A, ", "not A and ", "A is ", "(A) "])
def test_a_model_that_repeats_itself_costs_no_time(text: str) -> None:
    assert set(LETTERS.named(text * 3000)) <= {None, "A"}


def test_options_lose_their_labels() -> None:
    assert option_texts(["A)23", "(B) 56", "C)C)79", "D: x", "None of these"]) == [
        *("23", "56", "79", "x", "None of these")
    ]


OPTIONS = ("A)23", "B)56", r"C)$\frac{1}{2}$", "D)12 km/h", "E)None of these")


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
    assert check_choice(r"\boxed{B}", "B") == Verdict("correct", "B", "boxed")
    assert check_choice("I take B", "A") == Verdict("wrong_answer", "B", "last_letter")
    assert check_choice("A or B", "A") == Verdict("wrong_answer", "A or B", "last_letter")
    assert check_choice("nothing", "A") == Verdict("no_answer")


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
