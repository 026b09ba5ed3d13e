"""A formula is read whole or not at all."""

from __future__ import annotations

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sympy import FiniteSet, Float, I, Interval, Matrix, Rational, Symbol, Tuple, pi, sqrt, zoo

from wmss_cli.answers.compare import is_equal
from wmss_cli.answers.formula import number_of, readings, union, values_equal
from wmss_cli.answers.graders import check_math

UNREADABLE = [
    *(r"1, 3, 5, \ldots", r"1 + \cdots + 5", r"\{1, 2, \dots, 5\}", r"1 \ldots 9", "1, 2, 3, ..."),
    *(
        "5 3",
        r"5 \, 3",
        r"5 \quad 3",
        "5 ? 3",
        "f(5) = ?",
        "5 + ",
        r"5 \cdot",
        "5^",
        "5 <",
        "5 & 6",
    ),
    *(r"5 \to 6", r"5 \mid 6", r"\frac{1}{2", "10^{-3", "(5", "5)", r"\left(5", "5 because 3"),
    *(
        r"\text{not } 5",
        r"\text{at least } 5",
        r"5 \text{ to } 6",
        r"\text{between } 3 \text{ and } 5",
    ),
    *("5 heads 3 tails", "2..3", "5 # 3", r"5 \text{ out of } 6", r"5 \heartsuit 3"),
]


@pytest.mark.parametrize("formula", UNREADABLE)
def test_a_formula_that_cannot_be_read_yields_no_part_of_itself(formula: str) -> None:
    for part in set(re.findall(r"\d", formula)):
        assert not check_math(rf"\boxed{{{formula}}}", part).correct


@pytest.mark.parametrize(
    ("formula", "read"),
    [
        (r"\frac{2 \pm \sqrt{76}}{2}", "{1 - sqrt(19), 1 + sqrt(19)}"),
        (r"6-5\mathrm{i}", "6 - 5*I"),
        (r"\log_2 8", "3"),
        (r"\sin 30^\circ", "1/2"),
        (r"\frac 1 2", "1/2"),
    ],
)
def test_readings(formula: str, read: str) -> None:
    (value,) = next(readings(formula))
    assert str(value.doit().simplify()) == read or str(value.doit()) == read


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"x<-1 \text{ or } x>2", r"(-\infty,-1)\cup(2,\infty)"),
        (r"x \leq -1 \quad \text{or} \quad x \geq 2", r"(-\infty,-1]\cup[2,\infty)"),
        ("x < 0 or 1 <= x < 2", r"(-\infty,0)\cup[1,2)"),
        (r"2 > x \ge 1 \lor x > 3", r"[1,2)\cup(3,\infty)"),
    ],
)
def test_a_union(formula: str, expected: str) -> None:
    assert union(formula) == expected
    assert is_equal(formula, expected)


@pytest.mark.parametrize(
    "formula", ["x < 1", "x < 1 or y > 2", "x = 1 or x = 2", "1 < x > 2 or x > 3"]
)
def test_what_is_no_union_of_intervals(formula: str) -> None:
    assert union(formula) is None


def test_open_and_closed_ends_differ() -> None:
    assert not is_equal("x < -1 or x > 2", r"(-\infty,-1]\cup(2,\infty)")
    assert not is_equal("x < -1 or x > 2", r"(-1,2)")


x = Symbol("x")


@given(st.integers(-99, 99), st.integers(1, 99), st.integers(20, 300))
def test_tiny_values_are_no_zeros(numerator: int, denominator: int, power: int) -> None:
    tiny = Rational(numerator, denominator * 10**power)
    assert values_equal(tiny, tiny)
    assert values_equal(tiny, 2 * tiny) == (numerator == 0)
    assert values_equal(tiny * x + 1 - 1, tiny * x)


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
    assert values_equal(gold, found)


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
    assert not values_equal(gold, found)


def test_only_real_numbers_have_a_fraction() -> None:
    assert number_of(Rational(1, 3)) == Fraction(1, 3)
    assert number_of(x) is number_of(2 + I) is number_of(zoo) is None
