"""Whether two values are equal: exactly for exact ones, relative to their size for decimals.

math-verify rounds both to so many decimals, and so takes all tiny values for equal. What it finds
equal is looked at again here, and numbers are compared here alone.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from itertools import zip_longest
from typing import Any

from math_verify import verify
from sympy import (
    Basic,
    Expr,
    FiniteSet,
    Float,
    Interval,
    MatrixBase,
    Rational,
    Symbol,
    Tuple,
    oo,
    simplify,
)

# Digits to which exact values such as roots are evaluated, and the relative difference below
# which they are the same.
_DIGITS = 60
_NEGLIGIBLE = Fraction(1, 10**45)
# From so many digits on, a decimal is the float of a calculation, right but for its last digits.
_FLOAT_DIGITS = 15
_FLOAT_NOISE = Fraction(1, 10**12)
# Where variables are put in, to see whether two formulas are the same function.
_POINTS = (Rational(37, 29), Rational(53, 31), Rational(-61, 43), Rational(71, 59))


def decimals_equal(
    first: Decimal | Fraction, second: Decimal | Fraction, decimal_places: int
) -> bool:
    """Compare two numbers: exactly, or where one has decimals, to so many of its digits.

    A decimal equals what it is the rounding of, to its own decimals, where both agree to
    `decimal_places` significant digits, or to as many decimals of a number that is not tiny.

    Parameters
    ----------
    first, second : decimal.Decimal or fractions.Fraction
        A Decimal with all the digits in which it is written.
    decimal_places : int
        How closely they have to agree.

    Examples
    --------
    >>> decimals_equal(Decimal("0.333333"), Fraction(1, 3), 6)
    True
    >>> decimals_equal(Decimal("0.0000672"), Decimal("0.0000674"), 6)
    False
    """
    a, b = Fraction(first), Fraction(second)
    difference, size = abs(a - b), max(abs(a), abs(b))
    if difference == 0:
        return True
    written = [side for side in (first, second) if isinstance(side, Decimal)]
    rounded = [side for side in written if _decimals(side) > 0]
    if not rounded:
        return False
    if any(len(side.as_tuple().digits) >= _FLOAT_DIGITS for side in rounded) and (
        difference <= size * _FLOAT_NOISE
    ):
        return True
    if difference > Fraction(1, 2 * 10 ** min(map(_decimals, rounded))):
        return False
    return _is_close(difference, size, decimal_places)


def values_equal(gold: Any, found: Any, decimal_places: int) -> bool:
    """Compare two values as math-verify has read them; its order matters.

    Parameters
    ----------
    gold, found : sympy.Basic or sympy.MatrixBase
        The reference and the answer.
    decimal_places : int
        See :func:`decimals_equal`.
    """
    if _is_number(gold) and _is_number(found):
        return _numbers_equal(gold, found, decimal_places)
    equal = verify(
        [gold],
        [found],
        float_rounding=decimal_places,
        timeout_seconds=None,
        allow_set_relation_comp=True,
    )
    return bool(equal) and _agree(gold, found, decimal_places)


def number_of(value: Any) -> Fraction | None:
    """Return a real value as a fraction, roots and the like to 60 digits; None for others."""
    if not _is_number(value):
        return None
    evaluated = _evaluated(value)
    if evaluated is None or evaluated[1] != 0:
        return None
    return evaluated[0]


def _decimals(value: Decimal) -> int:
    return -int(value.as_tuple().exponent)


def _is_close(difference: Fraction, size: Fraction, decimal_places: int) -> bool:
    unit = Fraction(1, 10**decimal_places)
    if difference <= size * unit:
        return True
    return difference <= unit / 2 and difference <= size * unit * 100


def _is_number(value: Any) -> bool:
    return isinstance(value, Expr) and not value.free_symbols and bool(value.is_number)


def _numbers_equal(gold: Expr, found: Expr, decimal_places: int) -> bool:
    if gold == found and gold in (oo, -oo):
        return True
    one, other = _evaluated(gold), _evaluated(found)
    if one is None or other is None:
        return False
    difference = max(abs(a - b) for a, b in zip(one, other, strict=True))
    size = max(*map(abs, one), *map(abs, other))
    if difference == 0:
        return True
    if gold.has(Float) or found.has(Float):
        return difference <= size * _FLOAT_NOISE or _is_close(difference, size, decimal_places)
    if _is_rational(gold) and _is_rational(found):
        return False
    if difference <= size * _NEGLIGIBLE:
        return True
    # A difference that cancels is all that is left of a zero.
    return size < _NEGLIGIBLE and bool(simplify(gold - found) == 0)


def _is_rational(value: Expr) -> bool:
    return isinstance(value.doit(), Rational)


def _evaluated(value: Expr) -> tuple[Fraction, Fraction] | None:
    """Return the real and the imaginary part; None where there is no finite number."""
    exact = value.doit()
    parts = exact.as_real_imag() if exact.is_real is not True else (exact, Rational(0))
    fractions = []
    for part in parts:
        if isinstance(part, Rational):
            fractions.append(Fraction(int(part.p), int(part.q)))
            continue
        number = part.evalf(_DIGITS)
        if not isinstance(number, Float | Rational) or not number.is_finite:
            return None
        fraction = Rational(str(number)) if isinstance(number, Float) else number
        fractions.append(Fraction(int(fraction.p), int(fraction.q)))
    return fractions[0], fractions[1]


def _agree(gold: Any, found: Any, decimal_places: int) -> bool:
    """Look again at what math-verify takes for equal; what cannot be looked into stays so."""
    if isinstance(gold, MatrixBase) and isinstance(found, MatrixBase):
        return _all_equal(gold.flat(), found.flat(), decimal_places)
    if isinstance(gold, Interval) and isinstance(found, Interval):
        ends, others = (gold.start, gold.end), (found.start, found.end)
        return _all_equal(ends, others, decimal_places)
    if isinstance(gold, Tuple) and isinstance(found, Tuple):
        return _all_equal(gold.args, found.args, decimal_places)
    if isinstance(gold, FiniteSet) and isinstance(found, FiniteSet):
        return all(any(values_equal(a, b, decimal_places) for b in found.args) for a in gold.args)
    if isinstance(gold, Expr) and isinstance(found, Expr):
        return _same_function(gold, found, decimal_places)
    return True


def _all_equal(gold: Any, found: Any, decimal_places: int) -> bool:
    return all(values_equal(a, b, decimal_places) for a, b in zip_longest(gold, found))


def _same_function(gold: Expr, found: Expr, decimal_places: int) -> bool:
    if isinstance(gold, Symbol) or isinstance(found, Symbol):
        return True
    symbols = sorted(gold.free_symbols | found.free_symbols, key=str)
    point = {name: _POINTS[i % 4] + i // 4 for i, name in enumerate(symbols)}
    one, other = (_at(side, point) for side in (gold, found))
    return one is None or other is None or _numbers_equal(one, other, decimal_places)


def _at(value: Expr, point: dict[Basic, Rational]) -> Expr | None:
    number = value.doit().subs(point)
    return number if _is_number(number) and _evaluated(number) is not None else None
