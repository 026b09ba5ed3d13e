"""Plain numbers: commas, units, rounding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wmss_cli.answers.number import (
    decimal_comma,
    decimals_equal,
    in_words,
    join_thousands,
    plain_number,
    quantity,
    rounds_to,
    without_unit,
)

decimals = st.decimals(-(10**12), 10**12, places=4)


@given(decimals)
def test_a_number_is_read_with_commas_blanks_or_nothing_between_thousands(value: Decimal) -> None:
    for text in (f"{value:f}", f"{value:,f}", f"{value:,f}".replace(",", " ")):
        assert plain_number(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zero", 0),
        ("Fifteen.", 15),
        (r"\text{forty-two}", 42),
        ("one hundred and five", 105),
        ("two thousand three hundred", 2300),
        ("twelve million", 12_000_000),
        ("nineteen hundred", 1900),
        ("two hundred thousand and six", 200_006),
    ],
)
def test_numbers_in_words(text: str, value: int) -> None:
    assert in_words(text) == quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hundred",
        "two apples",
        "one half",
        "and",
        "second",
        "two and three",
        "twenty ten",
        "five zero",
        "two thousand three million",
        "one thousand twelve hundred",
    ],
)
def test_other_words_are_no_numbers(text: str) -> None:
    assert in_words(text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("1.5e3", "1500"), ("5¢", "5"), ("₹500", "500"), ("15 (fifteen)", "15")]
)
def test_powers_of_ten_currencies_and_brackets(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


def test_a_huge_power_is_no_number() -> None:
    assert quantity("1e999999999") is None


@pytest.mark.parametrize("text", ["", "18, 20", "1,5", "12 34", "x", "1.2.3", "."])
def test_what_is_no_plain_number(text: str) -> None:
    assert plain_number(text) is None


@pytest.mark.parametrize(
    "text", [r"1\,800", r"1{,}800", r"1\!800", r"1,\!800", r"1,\! 800", "1,800"]
)
def test_thousands_are_written_with_a_comma(text: str) -> None:
    assert join_thousands(text) == "1,800"


def test_a_comma_is_a_decimal_comma_only_where_it_is_not_between_thousands() -> None:
    assert decimal_comma("1000,99") == "1000.99"
    assert decimal_comma("1,500") is decimal_comma("1, 5") is decimal_comma("1,5,7") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$18.50", "18.50"),
        (r"\$18", "18"),
        ("-$18", "-18"),
        ("€18.", "18"),
        ("18 dollars", "18"),
        ("12 km/h", "12"),
        ("5 miles per hour", "5"),
        ("3 million", "3000000"),
        ("1.5 thousand people", "1500"),
        ("2 hundred thousand", "200000"),
        ("3万亿", "3000000000000"),
    ],
)
def test_a_quantity_is_its_number(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["5 squared", "5 percent", "3 x", "5 - 2", r"3\sqrt{2}", "5%"])
def test_words_that_change_the_value_are_no_units(text: str) -> None:
    assert quantity(text) is None
    assert without_unit(text) == text


@pytest.mark.parametrize("text", [" ", "1,", "1 ", "- ", "1 abc "])
def test_a_model_that_repeats_itself_costs_no_time(text: str) -> None:
    assert quantity(text * 3000) is None


@given(decimals, st.integers(0, 6))
def test_a_value_rounds_to_itself_from_two_decimals_on(value: Decimal, places: int) -> None:
    rounded = round(value, places)
    assert rounds_to(rounded, value) == (places >= 2)
    step = Decimal(1).scaleb(-places)
    assert not rounds_to(rounded + step + step, value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.333333", Fraction(1, 3)),
        ("0.10", Decimal("0.1")),
        ("1.8333333333333335", Decimal("1.833333")),
        ("0.30000000000000004", Decimal("0.3")),
        ("1.6E-19", Decimal("0.00000000000000000016")),
    ],
)
def test_a_decimal_equals_what_it_is_the_rounding_of(one: str, other: Decimal | Fraction) -> None:
    assert decimals_equal(Decimal(one), other)
    assert decimals_equal(other, Decimal(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.333", Fraction(1, 3)),
        ("0.0000672", Decimal("0.0000674")),
        ("1.6E-19", Decimal("9.1E-31")),
        ("1E-10", Decimal(0)),
        ("1000000.5", Decimal(1000000)),
        ("17.9999999", Decimal(18)),
        ("1E+30", Decimal(10**30 + 1)),
    ],
)
def test_another_digit_is_another_number(one: str, other: Decimal | Fraction) -> None:
    assert not decimals_equal(Decimal(one), other)


@given(st.integers(10**28, 10**200), st.integers(1, 10**6))
def test_whole_numbers_of_any_length_are_exact(number: int, difference: int) -> None:
    assert decimals_equal(Decimal(number), Decimal(number))
    assert not decimals_equal(Decimal(number), Decimal(number + difference))
