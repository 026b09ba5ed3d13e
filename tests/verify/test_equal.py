"""Exact numbers are compared exactly, decimals relative to their size."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import FiniteSet, Float, I, Interval, Matrix, Rational, Symbol, Tuple, pi, sqrt, zoo

from wmss_cli.verify.equal import decimals_equal, number_of, values_equal

x = Symbol("x")


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
    assert decimals_equal(Decimal(one), other, 6)
    assert decimals_equal(other, Decimal(one), 6)


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
    assert not decimals_equal(Decimal(one), other, 6)


@given(st.integers(10**28, 10**200), st.integers(1, 10**6))
def test_whole_numbers_of_any_length_are_exact(number: int, difference: int) -> None:
    assert decimals_equal(Decimal(number), Decimal(number), 6)
    assert not decimals_equal(Decimal(number), Decimal(number + difference), 6)


@given(st.integers(-99, 99), st.integers(1, 99), st.integers(20, 300))
def test_tiny_values_are_no_zeros(numerator: int, denominator: int, power: int) -> None:
    tiny = Rational(numerator, denominator * 10**power)
    assert values_equal(tiny, tiny, 6)
    assert values_equal(tiny, 2 * tiny, 6) == (numerator == 0)
    assert values_equal(tiny * x + 1 - 1, tiny * x, 6)


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        (sqrt(8), 2 * sqrt(2)),
        (pi, Float("3.141593")),
        (3 + 4 * I, 4 * I + 3),
        (Tuple(1, Rational(1, 3)), Tuple(1, Float("0.333333"))),
        (FiniteSet(1, sqrt(2)), FiniteSet(sqrt(2), 1)),
        ((x + 1) ** 2, x**2 + 2 * x + 1),
        (Matrix([1, 2]), Matrix([1, 2])),
    ],
)
def test_equal_values(gold: object, found: object) -> None:
    assert values_equal(gold, found, 6)


@pytest.mark.parametrize(
    ("gold", "found"),
    [
        (Rational(1, 2**60), Rational(1, 2**59)),
        (sqrt(2) / 10**40, sqrt(3) / 10**40),
        (FiniteSet(Rational(1, 10**20), 1), FiniteSet(Rational(1, 10**21), 1)),
        (Matrix([1, Rational(1, 10**20)]), Matrix([1, Rational(1, 10**21)])),
        (Interval(0, Rational(1, 10**20)), Interval(0, Rational(1, 10**21))),
        (x / 10**20, x / 10**21),
        (zoo, zoo),
    ],
)
def test_other_values(gold: object, found: object) -> None:
    assert not values_equal(gold, found, 6)


def test_only_real_numbers_have_a_fraction() -> None:
    assert number_of(Rational(1, 3)) == Fraction(1, 3)
    assert number_of(x) is number_of(2 + I) is number_of(zoo) is None
