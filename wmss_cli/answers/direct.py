r"""Compares without sympy if texts, two numbers, words, letters, times or units decide.

Amounts with units are compared as wholes: 1890 cents are \$18.90, and 2 hours 40 minutes are
160 minutes.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from wmss_cli.answers.notation import normal_form
from wmss_cli.answers.number import decimals_equal, exact_value, plain_number

_WORDS = re.compile(r"(?:[^\W\d_]{4,}|no|yes)(?:[ -][^\W\d_]{4,})*", re.IGNORECASE)
# Such as 2 hours 30 minutes.
_AMOUNT = re.compile(r"(\d+) +([A-Za-z]{3,})")
_AMOUNTS = re.compile(r"(?:\d+ +[A-Za-z]{3,}(?: +and)?(?: +|,? *$)){2,}")
# math-verify ignores the base: 52 to the base 8 and to the base 9 are equal for it.
_NUMERAL = re.compile(r"([0-9A-F]+)_\{?(\d+)\}?")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
# For a question with several right options: ABD, "A, B and D", (A)(B)(D).
_OPTION = r"(?:[A-H]|\([A-H]\))"
_OPTIONS = re.compile(rf"{_OPTION}(?:(?:\s*(?:[,;、&]|\band\b)){{0,2}}\s*{_OPTION})+")
_LETTER = re.compile(r"[A-H]")
_NOON = 12
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_UNIT_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm|rm)\s*\{([^{}]*)\}")
_FRACTION = re.compile(
    r"\\[dt]?frac\s*(?:\{\s*(?P<n1>\d+)\s*\}|(?P<n2>\d))\s*(?:\{\s*(?P<d1>\d+)\s*\}|(?P<d2>\d))"
)
_SPACE = re.compile(r"(?:\s|\\[ ,;:!]|\\q?quad(?![a-z])|~)+")
_MOST_CHARACTERS = 4000
_CENTS = Fraction(1, 100)
_UNITS: dict[str, tuple[str, Fraction]] = {}


def _define(dimension: str, names: dict[str, Fraction | int]) -> None:
    for several, size in names.items():
        for name in several.split():
            _UNITS[name] = (dimension, Fraction(size))


_define("money", {"$ \\$ £ € ¥ dollar dollars euro euros yuan": 1, "cent cents ¢ pence": _CENTS})
_define("length", {"mm millimeter millimeters": 1, "cm centimeter centimeters centimetres": 10})
_define("length", {"m meter meters metre metres": 1000, "km kilometer kilometers": 10**6})
_define("length", {"in inch inches": Fraction("25.4"), "ft foot feet": Fraction("304.8")})
_define("length", {"yd yard yards": Fraction("914.4"), "mi mile miles": Fraction("1609344")})
_define(
    "mass", {"mg milligram milligrams": 1, "g gram grams": 1000, "kg kilogram kilograms": 10**6}
)
_define("time", {"s sec secs second seconds": 1, "min mins minute minutes": 60})
_define("time", {"h hr hrs hour hours": 3600, "day days": 86_400, "week weeks": 604_800})
_define("volume", {"ml mL milliliter milliliters": 1, "L l liter liters litre litres": 1000})

_NAME = "|".join(sorted((re.escape(name) for name in _UNITS if name[-1].isalpha()), key=len)[::-1])
_PIECE = re.compile(
    r"(?P<currency>\\?\$|[£€¥])?\s*"
    r"(?P<number>(?:(?P<whole>\d+)\s+)?(?P<part>\d+\s*/\s*0*[1-9]\d*)|\d[\d,]*(?:\.\d+)?|\.\d+)\s*"
    rf"(?:(?P<wide>square|sq|cubic)\.?\s+)?(?P<unit>(?:{_NAME})(?![A-Za-z])|¢)?"
    r"(?:\s*\^\s*\{?(?P<power>\d)\}?)?\s*(?:,\s*|and\s+)?"
)
_POWERS = {"square": 2, "sq": 2, "cubic": 3}


def decide(answer: str, gold: str) -> bool | None:
    """Return whether two tidy texts are equal; None if that takes mathematics.

    Parameters
    ----------
    answer, gold : str
        As returned by :func:`~wmss_cli.answers.notation.tidy`.

    Examples
    --------
    >>> decide("1,800", "1800"), decide("A, C", "AC"), decide("x + 1", "1 + x")
    (True, True, None)
    """
    if normal_form(answer) == normal_form(gold) != "":
        return True
    numeral, expected_numeral = _NUMERAL.fullmatch(answer), _NUMERAL.fullmatch(gold)
    if numeral and expected_numeral:
        return numeral.groups() == expected_numeral.groups()
    value, expected = exact_value(answer), exact_value(gold)
    if value is None or expected is None:
        return _decide_words(answer, gold)
    return value == expected or decimals_equal(value, expected)


def _decide_words(answer: str, gold: str) -> bool | None:
    # math-verify takes words for products of letters: "listen" would equal "silent".
    if _WORDS.fullmatch(answer) and _WORDS.fullmatch(gold):
        return False
    if _AMOUNTS.fullmatch(answer) and _AMOUNTS.fullmatch(gold):
        return _numbers_and_units(answer) == _numbers_and_units(gold)
    answer, gold = (_TEXT.sub(r"\1", side).strip() for side in (answer, gold))
    if _OPTIONS.fullmatch(answer) and _OPTIONS.fullmatch(gold) and not (answer + gold).isalpha():
        return set(_LETTER.findall(answer)) == set(_LETTER.findall(gold))
    clock, expected_clock = _CLOCK.fullmatch(answer), _CLOCK.fullmatch(gold)
    if (
        clock
        and expected_clock
        and (clock[2] or clock[3])
        and (expected_clock[2] or expected_clock[3])
    ):
        return _is_same_time(clock, expected_clock)
    return None


def _numbers_and_units(text: str) -> list[tuple[str, str]]:
    """Return the numbers and units of an amount such as 2 hours and 30 minutes."""
    return [(n, unit.casefold().rstrip("s")) for n, unit in _AMOUNT.findall(text)]


def _is_same_time(first: re.Match[str], second: re.Match[str]) -> bool | None:
    """Compare times of day; morning and afternoon only count if both name them.

    Without these, 24:30 and 12:15 may be ratios, and are left undecided.
    """
    halves = {match[3].casefold() for match in (first, second) if match[3]}
    times = {(int(match[1]), int(match[2] or 0)) for match in (first, second)}
    if len(times) == 1 or len(halves) == 2:
        return len(halves) <= 1 and len(times) == 1
    if not halves:
        has_zero = any(int(match[1]) * int(match[2] or 0) == 0 for match in (first, second))
        return False if has_zero else None
    return _of_the_day(first) == _of_the_day(second)


def _of_the_day(clock: re.Match[str]) -> tuple[int, int]:
    """Return hours and minutes on the 24-hour clock."""
    hour, half = int(clock[1]), (clock[3] or "").casefold()
    if half and hour <= _NOON:
        hour = hour % _NOON + (_NOON if half == "p" else 0)
    return hour, int(clock[2] or 0)


class _Amount(NamedTuple):
    """A sum of amounts in one dimension, in its smallest unit."""

    total: Fraction
    dimension: tuple[str, int]
    sizes: tuple[Fraction, ...]


def amounts_equal(answer: str, gold: str) -> bool | None:
    r"""Compare two amounts whose units differ; None if units do not decide.

    A square instead of a cube is a different amount; a power that is left out is not. If one of
    them has no unit, an amount in several units is converted to any of these. One unit against none
    is left to the comparison of numbers, and so are units of different kinds.

    Examples
    --------
    >>> amounts_equal(r"1890\text{ cents}", r"\$18.90"), amounts_equal("2 h 40 min", "160")
    (True, True)
    >>> amounts_equal(r"\$5.4", r"5.4\text{ cents}"), amounts_equal("5 cm", "5")
    (False, None)
    """
    one, other = _amount(answer), _amount(gold)
    if one is not None and other is not None:
        (kind, power), (other_kind, other_power) = one.dimension, other.dimension
        if kind == other_kind and power != other_power and min(power, other_power) > 1:
            return False
        if one.dimension != other.dimension or one.sizes == other.sizes:
            return None
        return one.total == other.total
    for amount, number in ((one, gold), (other, answer)):
        if amount is not None and len(amount.sizes) > 1:
            value = exact_value(number)
            if value is not None and plain_number(number) is not None:
                totals = (amount.total / size for size in amount.sizes)
                return any(decimals_equal(total, value) for total in totals)
    return None


def _amount(text: str) -> _Amount | None:
    if len(text) > _MOST_CHARACTERS:
        return None
    text = _FRACTION.sub(r" \g<n1>\g<n2>/\g<d1>\g<d2> ", text)
    text = _SPACE.sub(" ", _UNIT_TEXT.sub(r" \1", text)).strip().rstrip(".")
    total = Fraction(0)
    sizes: list[Fraction] = []
    dimensions: set[tuple[str, int]] = set()
    position = 0
    while position < len(text):
        piece = _PIECE.match(text, position)
        name = piece and (piece["unit"] or piece["currency"])
        if piece is None or not name:
            return None
        dimension, size = _UNITS[name]
        power = int(piece["power"] or _POWERS.get(piece["wide"] or "", 1))
        number = Fraction((piece["part"] or piece["number"]).replace(",", "").replace(" ", ""))
        number += int(piece["whole"] or 0)
        total += number * size**power
        # Two lengths in centimetres are two values, not a sum.
        if sizes and size**power >= sizes[-1]:
            return None
        sizes.append(size**power)
        dimensions.add((dimension, power))
        position = piece.end()
    if len(dimensions) != 1:
        return None
    return _Amount(total, dimensions.pop(), tuple(sizes))
