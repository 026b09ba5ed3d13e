"""Which letter a text names, and what is no letter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.verify.letters import Letters, option_texts

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
