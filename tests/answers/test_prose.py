"""Which value of a text is its answer."""

from __future__ import annotations

import pytest

from wmss_cli.answers.prose import Last, Passage
from wmss_cli.answers.scan import without_emphasis


def passage(text: str) -> Passage:
    return Passage(*without_emphasis(text))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("She has 1,200 of them. He has 3 more.", "3"),
        ("So Kylar pays **$64** for the 16 glasses.", "$64"),
        ("She walked 2.75 miles in all (1.5 + 1.25).", "2.75"),
        ("The least value is $-4$ (at $x = 2$).", "-4"),
        ("Thus m + n = 468, where m = 336.", "m + n = 468"),
        ("Its roots are 3, 1/2 and -2.", "3, 1/2, -2"),
        ("So $x = 17$ or $x = 18$.", "x = 17, x = 18"),
        ("Since 5 + 5 = 10, there are 12.", "12"),
        ("He rides 150 - 144 = 6 miles on the 13th day.", "6"),
        ("They average (60 + 72 + 42)/3 = 58 mph.", "58"),
        ("You save $3 + $5 = $8 for 3 gallons of milk and 5 boxes.", "$8"),
        ("As 5 + 5 = 10 are red, 12 are blue.", "12"),
        ("The interval is (1, 2).", "(1, 2)"),
        ("She is fastest: **Evelyn**.", "Evelyn"),
        (r"So the curve is an \text{ellipse}.", r"ellipse"),
    ],
)
def test_the_last_sentence_has_the_answer(text: str, last: str) -> None:
    found = passage(text).last()
    assert found is not None
    assert found.text == last


def test_a_plain_number_is_told_from_a_formula() -> None:
    assert passage("It is 5.").last() == Last("5", is_number=True)
    assert passage("It is $5$.").last() == Last("5", is_number=False)


@pytest.mark.parametrize(
    "text",
    [
        "The number 5 appears. I am not sure what the answer is.",
        "There are 5 of them. I cannot determine the rest.",
        "I do not know.",
    ],
)
def test_a_text_that_gives_up_has_no_answer(text: str) -> None:
    assert passage(text).last() is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42 apples in 3 baskets.", "42"),
        ("42, since she has 5 more.", "42"),
        ("$1$ or $2$, since n = 3.", "1, 2"),
        ("3, 5, and 7.", "3, 5, 7"),
        ("x where x = 5.", "x = 5"),
        ("2 to 3.", "2 to 3"),
        ("clearly 42, as 6 * 7 = 42.", "42"),
    ],
)
def test_a_statement_begins_with_its_value(text: str, value: str) -> None:
    assert passage(text).from_position(0) == value
