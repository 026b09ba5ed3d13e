"""What is decided without mathematics: numbers, words, letters of options, times."""

from __future__ import annotations

import pytest

from wmss_cli.answers.direct import amounts_equal, decide

EQUAL = [
    ("1,800", "1800"),
    ("52_8", "52_{8}"),
    ("2 hours 30 minutes", "2 hours and 30 minutes"),
    ("Monday", "monday"),
    ("A, C", "AC"),
    ("(D), (A) and (B)", "ABD"),
    (r"A, B, \text{ and } D", "A, B, D"),
    ("5:00 PM", "5:00"),
    (r"5:00 \text{ p.m.}", "5 PM"),
    ("11:05 am", "11:05 a.m."),
    ("15:00", "3:00 PM"),
    ("0:30", "12:30 a.m."),
    ("12:30", "12:30 PM"),
    ("12 PM", "12:00"),
    ("0.5", "1/2"),
    (r"1\frac{1}{2}", "3/2"),
]
DIFFERENT = [
    ("1,801", "1800"),
    ("52_8", "52_9"),
    ("2 hours 30 minutes", "3 hours 20 minutes"),
    ("listen", "silent"),
    ("A, B", "AC"),
    ("A, C, D", "AC"),
    ("5:00 PM", "5:00 AM"),
    ("5:30 PM", "5:03 PM"),
    ("12:00", "1:00"),
    ("15:00", "3:00 AM"),
    ("15:00", "4:00 PM"),
    ("0:30", "0:45"),
    ("0.51", "1/2"),
]
OPEN = [
    ("x + 1", "1 + x"),
    ("AB", "BA"),
    ("A", "A, C"),
    ("3:2", "6:4"),
    ("24:30", "12:15"),
    ("2:30", "3:20"),
    ("5", "x"),
]


@pytest.mark.parametrize(("answer", "gold"), EQUAL)
def test_equal(answer: str, gold: str) -> None:
    assert decide(answer, gold) is True
    assert decide(gold, answer) is True


@pytest.mark.parametrize(("answer", "gold"), DIFFERENT)
def test_different(answer: str, gold: str) -> None:
    assert decide(answer, gold) is False
    assert decide(gold, answer) is False


@pytest.mark.parametrize(("answer", "gold"), OPEN)
def test_left_to_mathematics(answer: str, gold: str) -> None:
    assert decide(answer, gold) is None


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"1890 \text{ cents}", r"\$18.90"),
        (r"6\text{ ft}^2", r"864 \mbox{ inches}^2"),
        ("6 square feet", "864 square inches"),
        (r"2 \text{ hours } 40 \text{ minutes}", "160"),
        ("2 hours and 40 minutes", "160 minutes"),
        (r"1\,\text{m}\ 85\,\text{cm}", "1.85"),
        ("1 foot 6 inches", "18 inches"),
        ("1.5 km", "1,500 m"),
        ("1/2 hour", "30 minutes"),
        (r"2\frac{1}{2}\text{ hours}", "150 minutes"),
        ("1 foot 6 1/2 inches", "18.5 inches"),
    ],
)
def test_one_amount_in_two_units(answer: str, gold: str) -> None:
    assert amounts_equal(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\$5.4", r"5.4 \text{ cents}"),
        ("2 m", "2 cm"),
        ("2 hours 41 minutes", "160"),
        ("1 hour", "1 minute"),
        (r"6\text{ ft}^2", r"72 \text{ inches}^2"),
    ],
)
def test_the_number_alone_is_another_amount(answer: str, gold: str) -> None:
    assert amounts_equal(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("5 cm", "5"),
        ("5 cm", "6 cm"),
        ("5 cm", "5 kg"),
        ("5 apples", "5 cm"),
        ("3 cm, 4 cm", "7 cm"),
        ("3 cm and 4 cm", "7"),
        (r"\$40, \$24", "64"),
        ("1/0 cm", "1 mm"),
        ("40 minutes 2 hours", "160 minutes"),
        ("9" * 5000 + " cm", "1 mm"),
    ],
)
def test_left_to_the_comparison_of_numbers(answer: str, gold: str) -> None:
    assert amounts_equal(answer, gold) is None
