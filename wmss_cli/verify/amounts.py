r"""Amounts with units: 1890 cents are \$18.90, and 2 hours 40 minutes are 160 minutes."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from wmss_cli.verify.equal import decimals_equal
from wmss_cli.verify.number import exact_value, plain_number

_TEXT = re.compile(r"\\(?:text\w*|mbox|mathrm|rm)\s*\{([^{}]*)\}")
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


class _Amount(NamedTuple):
    """A sum of pieces in one dimension, in its smallest unit."""

    total: Fraction
    dimension: tuple[str, int]
    sizes: tuple[Fraction, ...]


def amounts_equal(answer: str, gold: str, decimal_places: int) -> bool | None:
    r"""Compare two amounts whose units differ; None where units do not decide.

    A square for a cube is another amount; a power that is left out is not.
    Without a unit in one of them, an amount in several units is taken in any of these. One unit
    against none is left to the comparison of numbers, and so are units of different kinds.

    Examples
    --------
    >>> amounts_equal(r"1890\text{ cents}", r"\$18.90", 6), amounts_equal("2 h 40 min", "160", 6)
    (True, True)
    >>> amounts_equal(r"\$5.4", r"5.4\text{ cents}", 6), amounts_equal("5 cm", "5", 6)
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
                return any(decimals_equal(total, value, decimal_places) for total in totals)
    return None


def _amount(text: str) -> _Amount | None:
    if len(text) > _MOST_CHARACTERS:
        return None
    text = _FRACTION.sub(r" \g<n1>\g<n2>/\g<d1>\g<d2> ", text)
    text = _SPACE.sub(" ", _TEXT.sub(r" \1", text)).strip().rstrip(".")
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
        # Two lengths in centimetres are two values, and no sum.
        if sizes and size**power >= sizes[-1]:
            return None
        sizes.append(size**power)
        dimensions.add((dimension, power))
        position = piece.end()
    if len(dimensions) != 1:
        return None
    return _Amount(total, dimensions.pop(), tuple(sizes))
