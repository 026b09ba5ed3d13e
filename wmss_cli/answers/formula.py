r"""Read formulas with math-verify, completely or not at all, and compare their values.

math-verify reads whatever it can: from ``1, 3, 5, \ldots`` the 5, from ``5 3`` the sum. Here a
formula that cannot be read as a whole does not count. It also rounds two values to a number of
decimals, so that all tiny ones are equal to it: what it finds equal is compared again here, exact
values exactly and decimals relative to their size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import zip_longest
from typing import Any

from math_verify import LatexExtractionConfig, parse, verify
from sympy import (
    And,
    Basic,
    Eq,
    Expr,
    FiniteSet,
    Float,
    I,
    Interval,
    MatrixBase,
    Rational,
    Symbol,
    Tuple,
    oo,
    simplify,
    solve,
)
from sympy.core.relational import Relational

from wmss_cli.answers.notation import both_signs, in_latex
from wmss_cli.answers.number import (
    DECIMAL_PLACES,
    FLOAT_NOISE,
    PART_WORDS,
    decimal_comma,
    is_close,
    without_unit,
)

_LATEX = (LatexExtractionConfig(),)
_ELLIPSIS = re.compile(r"\\(?:[lcvd]?dots[bcmio]?)(?![a-z])|\.{3}|…")
# Not "\frac 1 2", and not the cells of a matrix.
_ADJACENT = re.compile(
    r"(?<!frac )(?<!frac)(?<![\d.])(?<!_)(?<!\\binom )\d[\d.]*"
    r"(?:\s|\\[ ,;:!]|\\q?quad(?![a-z])|~)+[\d.]"
)
_MARKS = re.compile(r"[?#@§]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WRAPPED = re.compile(
    r"\\(?:begin|end)\s*\{\w+\*?\}|\\(?:text\w*|mbox|mathrm|operatorname)\s*\{[^{}]*\}"
)
_LONG_WORD = re.compile(
    r"(?<![A-Za-z])(?!(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?(?![a-z]))[A-Za-z]{4,}"
)
_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm)\s*\{([^{}]*)\}")
# Words that turn a value into a different one, or into none.
_CHANGES = re.compile(
    r"\b(?:not|no|at\s+(?:least|most)|more|less|fewer|greater|over|under|below|above|between|up\s+to"
    r"|except|without|squared|cubed|than|times|per\s?cent|from|about|mod|modulo|minus|negative"
    rf"|{PART_WORDS})\b|\bto\b",
    re.IGNORECASE,
)
_CURRENCY_IN_SUM = re.compile(r"(?<!\\)\$(?=\s?[\d.])")
_SPACE = r"(?:\s|\\quad|\\[ ,;])*"
_OR = re.compile(rf"{_SPACE}(?:\\text\s*\{{\s*or\s*\}}|\bor\b|\\lor(?![a-z])){_SPACE}")
_SIGN = r"(?P<{}><=?|>=?|≤|≥|\\l(?:t|eq?|eqslant)(?![a-z])|\\g(?:t|eq?|eqslant)(?![a-z]))"
_BETWEEN = re.compile(
    rf"(?P<low>[^<>=≤≥]+?)\s*{_SIGN.format('first')}\s*(?P<name>[a-z])\s*"
    rf"{_SIGN.format('second')}\s*(?P<high>[^<>=≤≥]+)"
)
_HALF = re.compile(rf"(?P<name>[a-z])\s*{_SIGN.format('sign')}\s*(?P<end>[^<>=≤≥]+)")
# Digits to which exact values such as roots are evaluated, and the relative difference below
# which they are equal.
_DIGITS = 60
_NEGLIGIBLE = Fraction(1, 10**45)
# Values of variables, to find out whether two formulas are the same function.
_POINTS = (Rational(37, 29), Rational(53, 31), Rational(-61, 43), Rational(71, 59))


def readings(text: str) -> Iterator[list[Any]]:
    """Yield the possible meanings of a tidy formula as math-verify reads them, the likeliest first.

    Parameters
    ----------
    text : str
        As returned by :func:`~wmss_cli.answers.notation.tidy`, without a percent sign.

    Yields
    ------
    list of sympy.Basic or sympy.MatrixBase
        One element; nothing is yielded for what cannot be read.
    """
    if (intervals := union(text)) is not None:
        yield from _read(intervals)
    formula = without_unit(in_latex(text))
    yield from _read(both_signs(formula) or formula)
    if (decimal := decimal_comma(text)) is not None:
        yield from _read(decimal)


def _read(formula: str) -> Iterator[list[Any]]:
    formula = _CURRENCY_IN_SUM.sub("", formula)
    if not _is_readable(formula):
        return
    found = parse(
        rf"\boxed{{{formula}}}", _LATEX, fallback_mode="no_fallback", parsing_timeout=None
    )
    read = [_imaginary(value) for value in found if isinstance(value, Basic | MatrixBase)]
    if read:
        yield read


def _imaginary(value: Any) -> Any:
    """Return a value with the imaginary unit where math-verify has one or two variables i."""
    units = [name for name in value.free_symbols if str(name) == "i"]
    if not units:
        return value
    # Their parts: an equation is evaluated anew, with a real variable on its other side.
    if isinstance(value, And) and hasattr(value, "_unsorted_args"):
        # math-verify's own conjunction, for a chain such as z = 3 + 4i = w.
        return type(value)(*map(_imaginary, value._unsorted_args), evaluate=False)
    if isinstance(value, Relational):
        return value.func(*map(_imaginary, value.args), evaluate=False)
    if isinstance(value, FiniteSet | Tuple):
        return value.func(*map(_imaginary, value.args))
    return value.xreplace(dict.fromkeys(units, I))


def _is_readable(formula: str) -> bool:
    """Return whether math-verify would read all of a formula."""
    bare = _COMMAND.sub(" ", _WRAPPED.sub(" ", formula))
    return not (
        _ELLIPSIS.search(formula)
        or _ADJACENT.search(formula)
        or _MARKS.search(formula)
        or _LONG_WORD.search(bare)
        or any(_CHANGES.search(words) for words in _TEXT.findall(formula))
        or not _is_balanced(formula)
    )


def _is_balanced(formula: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", formula, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0


def union(formula: str) -> str | None:
    r"""Return the union of intervals that inequalities in one variable describe.

    Single inequalities are left to math-verify: only those joined by "or" are rewritten here.

    Examples
    --------
    >>> union(r"x < -1 \text{ or } x \ge 2")
    '(-\\infty,-1)\\cup[2,\\infty)'
    >>> union("x < -1 or y > 2"), union("x < 1")
    (None, None)
    """
    parts = _OR.split(formula.strip())
    if len(parts) < 2:
        return None
    names: set[str] = set()
    intervals = []
    for part in parts:
        if match := _HALF.fullmatch(part):
            intervals.append(_half_line(match))
        elif (match := _BETWEEN.fullmatch(part)) and _is_less(match["first"]) == _is_less(
            match["second"]
        ):
            intervals.append(_between(match))
        else:
            return None
        names.add(match["name"])
    return r"\cup".join(intervals) if len(names) == 1 else None


def _half_line(match: re.Match[str]) -> str:
    end = match["end"].strip()
    if _is_less(match["sign"]):
        return rf"(-\infty,{end}{'])'[_is_strict(match['sign'])]}"
    return rf"{'[('[_is_strict(match['sign'])]}{end},\infty)"


def _between(match: re.Match[str]) -> str:
    ends = [
        (match["low"].strip(), _is_strict(match["first"])),
        (match["high"].strip(), _is_strict(match["second"])),
    ]
    if not _is_less(match["first"]):
        ends.reverse()
    (low, low_strict), (high, high_strict) = ends
    return f"{'[('[low_strict]}{low},{high}{'])'[high_strict]}"


def _is_less(sign: str) -> bool:
    return sign.startswith(("<", "≤", r"\l"))


def _is_strict(sign: str) -> bool:
    return sign in ("<", ">", r"\lt", r"\gt")


def values_equal(gold: Any, found: Any) -> bool:
    """Compare two values that math-verify has read; their order matters.

    Parameters
    ----------
    gold, found : sympy.Basic or sympy.MatrixBase
        The reference and the answer.
    """
    if _is_number(gold) and _is_number(found):
        return _numbers_equal(gold, found)
    equal = verify(
        [gold],
        [found],
        float_rounding=DECIMAL_PLACES,
        timeout_seconds=None,
        allow_set_relation_comp=True,
    )
    return bool(equal) and _agree(gold, found)


def number_of(value: Any) -> Fraction | None:
    """Return a real value as a fraction, roots and the like to 60 digits; None for other values."""
    if not _is_number(value):
        return None
    evaluated = _evaluated(value)
    if evaluated is None or evaluated[1] != 0:
        return None
    return evaluated[0]


def _is_number(value: Any) -> bool:
    return isinstance(value, Expr) and not value.free_symbols and bool(value.is_number)


def _numbers_equal(gold: Expr, found: Expr) -> bool:
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
        return difference <= size * FLOAT_NOISE or is_close(difference, size)
    if _is_rational(gold) and _is_rational(found):
        return False
    if difference <= size * _NEGLIGIBLE:
        return True
    # If a difference cancels, only a rounding error is left of a zero.
    return size < _NEGLIGIBLE and bool(simplify(gold - found) == 0)


def _is_rational(value: Expr) -> bool:
    return isinstance(value.doit(), Rational)


def _evaluated(value: Expr) -> tuple[Fraction, Fraction] | None:
    """Return the real and the imaginary part; None if there is no finite number."""
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


def _agree(gold: Any, found: Any) -> bool:
    """Check again what math-verify finds equal; what cannot be checked stays equal."""
    if isinstance(gold, Eq) and isinstance(found, Eq):
        return _same_equation(gold, found)
    if isinstance(gold, MatrixBase) and isinstance(found, MatrixBase):
        return _all_equal(gold.flat(), found.flat())
    if isinstance(gold, Interval) and isinstance(found, Interval):
        ends, others = (gold.start, gold.end), (found.start, found.end)
        return _all_equal(ends, others)
    if isinstance(gold, Tuple) and isinstance(found, Tuple):
        return _all_equal(gold.args, found.args)
    if isinstance(gold, FiniteSet) and isinstance(found, FiniteSet):
        return all(any(values_equal(a, b) for b in found.args) for a in gold.args)
    if isinstance(gold, Expr) and isinstance(found, Expr):
        return _same_function(gold, found)
    return True


def _same_equation(gold: Eq, found: Eq) -> bool:
    """Compare equations again: those that nothing real solves have the same, empty, solution."""
    sides = [one.lhs - one.rhs for one in (gold, found)]
    names = sorted(sides[0].free_symbols | sides[1].free_symbols, key=str)
    if not names:
        return any(_all_equal(gold.args, order) for order in (found.args, found.args[::-1]))
    points = [{n: _POINTS[(i + k) % 4] + i // 4 for i, n in enumerate(names)} for k in (0, 1)]
    a, b, c, d = (_at(side, point) for side in sides for point in points)
    if a is None or b is None or c is None or d is None or _numbers_equal(a * d, b * c):
        return True
    # One is not a multiple of the other.
    try:
        return any(solve(side, name) for side in sides for name in names)
    except NotImplementedError:
        return True


def _all_equal(gold: Any, found: Any) -> bool:
    return all(values_equal(a, b) for a, b in zip_longest(gold, found))


def _same_function(gold: Expr, found: Expr) -> bool:
    if isinstance(gold, Symbol) or isinstance(found, Symbol):
        return True
    symbols = sorted(gold.free_symbols | found.free_symbols, key=str)
    point = {name: _POINTS[i % 4] + i // 4 for i, name in enumerate(symbols)}
    one, other = (_at(side, point) for side in (gold, found))
    return one is None or other is None or _numbers_equal(one, other)


def _at(value: Expr, point: dict[Basic, Rational]) -> Expr | None:
    number = value.doit().subs(point)
    return number if _is_number(number) and _evaluated(number) is not None else None
