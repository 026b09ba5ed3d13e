r"""Reads plain numbers, by far the most common answers, without a parser for LaTeX."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from fractions import Fraction

DECIMAL_PLACES = 6
"""Digits to which an answer is compared if one side is a decimal number."""

_THIN = r"(?:\\[,!:; ]|\{,\}|,\\!)\s*"
# Also of grouped decimals: 0.123\,456.
_THOUSANDS = re.compile(rf"(?:(?<![\d.])\d+|(?P<decimals>\.\d{{3}}))(?:{_THIN}\d{{3}})+(?!\d)")
_GAP = re.compile(_THIN)
# math-verify reads "x = 1,000" as x = 1 and 0.
_ASSIGNED_THOUSANDS = re.compile(r"=\s*-?\d{1,3}(?:,\d{3})+(?!\d|,\d)")
# In India 1,00,000 is a hundred thousand; unless a group begins with 0 it may be a list.
INDIAN = r"(?<![\d.,])(?=\d{1,2}(?:,\d{2}){0,9},0)\d{1,2}(?:,\d{2}){1,9},\d{3}(?!,?\d)"
"""A number with groups of two digits before the last three."""
_PLAIN = re.compile(
    rf"[-+]?(?:{INDIAN}|\d{{1,3}}(?:,\d{{3}})+"
    r"|\d{1,3}(?: \d{3})+|\d+|(?=\.\d))(?:\.\d*)?(?:[eE][-+]?\d{1,3})?"
)
_SCIENTIFIC = re.compile(
    r"(?P<number>[-+]?\d+(?:\.\d+)?)\s*(?:\\times|\\cdot|[×·*xX])\s*10\s*\^\s*"  # noqa: RUF001
    r"(?:\{\s*(?P<long>[-+]?\d{1,3})\s*\}|(?P<short>[-+]?\d{1,3}))"
    r"(?:\s+[A-Za-z]{1,4}(?:/[A-Za-z]{1,4})?)?"
)
_DECIMAL_COMMA = re.compile(r"([-+]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d+)),(\d+)")
_SCALES = {
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
    # Ten thousand and a hundred million in Chinese; the first is also Japanese.
    "万": 4,
    "萬": 4,
    "亿": 8,
    "億": 8,
}
_SCALE = re.compile("|".join(_SCALES))
_DOZEN = 12
_HUNDRED = 100
_TEN_AND_NINE = 19
_SIGNS = "$€£¥₹₩₽₱฿₫₪₺¢"
CURRENCY = (
    rf"(?:\b(?:US|CA|AU|NZ|HK|NT|SG|C|A|S|R)\s?\\?\$|\\?[{_SIGNS}]|\\(?:pounds|euro)(?![a-z])"
    r"|\b(?:USD|EUR|GBP|INR|CNY|RMB|JPY|CHF|Rs\.?)(?![A-Za-z]))"
)
"""A currency before or after an amount."""
# Short units, which are not words of three letters; a single letter may be a variable.
SHORT_UNIT = (
    r"(?:[cmk]m|[mk]g|m[lL]|[kcd][lL]|hr|ft|in|yd|mi|lb|oz|pt|qt|ms|[kM]?Hz|kW|kWh|kJ|k?Pa)"
)
_POWER = r"(?:\s*\^\s*\{?[23]\}?)"
_NUMBER_WORDS = (
    r"zero|one|two|three|four(?:teen)?|five|six(?:teen)?|seven(?:teen)?|eight(?:een)?|nine(?:teen)?|ten"
    r"|eleven|twelve|thirteen|fifteen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty"
)
# Halves and eighths are different values, and so are hundreds.
PART_WORDS = (
    r"half|halves|(?:thir|four|fif|six|seven|eigh|nin|ten|eleven|twelf|(?:thir|four|fif|six|seven|eigh"
    r"|nine)teen|(?:twen|thir|for|fif|six|seven|eigh|nine)tie|hundred|thousand|(?:m|b|tr)illion)(?:th|d)s?"
    r"|hundreds?|thousands?|(?:m|b|tr)illions?"
)
"""Words that change the number before them."""
CHANGING_WORDS = rf"{PART_WORDS}|{_NUMBER_WORDS}"
"""These words, and number words."""
# A unit is a word, a known abbreviation, two with a slash, or text in \text{} or in brackets; dozen
# and percent are not units, and neither are words that change the value.
_NO_UNIT = (
    r"(?!(?:percent|pct|dozens?|or|and|to|times|plus|minus|of|than|over|squared|cubed|factorial|mod"
    r"|modulo|negative|below|pi|sqrt|sin|cos|tan|log|quarters?"
    rf"|degrees?\s+[CFK]\b|{CHANGING_WORDS})\b)"
)
_CJK = r"[\u3040-\u9fff\uac00-\ud7af]"
_LETTER = rf"(?:(?!{_CJK})[^\W\d_])"
_UNIT = (
    rf"(?:\s+{_NO_UNIT}{_LETTER}{{3,}}(?:(?:[ /]| of ){_NO_UNIT}{_LETTER}{{2,}})*{_POWER}?"
    rf"|\s*(?:{SHORT_UNIT}{_POWER}?)(?![A-Za-z])|\s+(?:[A-Za-z]{{2,}}|m)/[A-Za-z]+{_POWER}?"
    r"|\s+\([A-Za-z]{2,}(?:[ /][A-Za-z]+)*\)"
    rf"|\s*(?![万萬亿億十百千半多余餘打或和到至比以]){_CJK}{{1,8}}"
    r"(?<![半多余餘])(?<!以[上下])(?<!之.))"
)
_QUANTITY = re.compile(
    rf"(?P<sign>[-+]?)(?:{CURRENCY}\s*)?(?P<number>[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+))"
    rf"(?:(?P<scale>(?:\s*(?:{'|'.join(_SCALES)})(?![A-Za-z]))+)"
    rf"|\s+(?P<dozen>dozens?)\b)?"
    rf"(?:\s*(?:\^\s*\{{?\s*\\circ\s*\}}?|°)(?:\s*(?:\\(?:text|mathrm)\s*\{{\s*)?[CF]\}}?)?|{_UNIT})?(?:\s*{CURRENCY})?\.?"
)
_FRACTION = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d+)(?:\s+|(?=\\)))?(?:\\[dt]?frac\s*"
    r"(?:\{\s*(?P<minus>-?)\s*(?P<n1>\d+)\s*\}|(?P<n2>\d))\s*(?:\{\s*(?P<d1>\d+)\s*\}|(?P<d2>\d))"
    r"|(?P<n3>\d+)\s*/\s*(?P<d3>\d+))"
    rf"(?P<unit>{_UNIT})?\.?"
)
# fmt: off
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {
    **{word: value for value, word in enumerate(_ONES)},
    **{word: 10 * value for value, word in enumerate(_TENS, start=2)},
}
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_WORD_BREAK = re.compile(r"\s+and\s+|[\s-]+")
# Fewest decimals of a rounded answer that is accepted for an exact value.
_LEAST_DECIMALS = 2
# With this many digits, a decimal is the float of a calculation, exact except for its last digits.
_FLOAT_DIGITS = 15
FLOAT_NOISE = Fraction(1, 10**12)
"""The relative error of a float from a calculation."""
# Python does not convert longer ones to whole numbers.
_MOST_DIGITS = 4000


def join_thousands(text: str) -> str:
    r"""Write thousands with a comma, but without one after an equals sign.

    Examples
    --------
    >>> join_thousands(r"1\,800"), join_thousands("1{,}800"), join_thousands(r"x = 1,\!800")
    ('1,800', '1,800', 'x = 1800')
    """
    text = _THOUSANDS.sub(lambda m: _GAP.sub("" if m["decimals"] else ",", m[0]), text)
    return _ASSIGNED_THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)


def plain_number(text: str) -> Decimal | None:
    """Read digits with an optional sign and decimal point, and commas or blanks for thousands.

    Examples
    --------
    >>> plain_number("-1,800.50"), plain_number("070"), plain_number("18, 20")
    (Decimal('-1800.50'), Decimal('70'), None)
    """
    match = _PLAIN.fullmatch(text.strip())
    return Decimal(match[0].replace(",", "").replace(" ", "")) if match else None


def decimal_comma(text: str) -> str | None:
    """Return the number with a decimal point if the text may have a decimal comma.

    ``1,5`` may be 1.5 or a list, ``1.234,5`` may be 1234.5; ``1,500`` and ``1, 5`` are not such.
    """
    match = _DECIMAL_COMMA.fullmatch(text.strip())
    if match is None or plain_number(text) is not None:
        return None
    return f"{match[1].replace('.', '')}.{match[2]}"


def without_unit(text: str) -> str:
    """Return the number itself if the text is a number with a currency or a unit in words."""
    fraction = _FRACTION.fullmatch(text.strip())
    if fraction is not None and fraction["unit"]:
        return text.strip()[: fraction.start("unit")]
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match["scale"] or match["dozen"]:
        return text
    return match["number"] if match["sign"] in "+" else _negated(match["number"])


def quantity(text: str) -> Decimal | None:
    """Read a plain number with a currency, a unit, or a word such as "million" or "dozen".

    Examples
    --------
    >>> quantity("$18.50"), quantity("3 million dollars"), quantity("3 x")
    (Decimal('18.50'), Decimal('3E+6'), None)
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        number = plain_number(text)
        return in_words(text) if number is None else number
    number = plain_number(match["number"] if match["sign"] in "+" else _negated(match["number"]))
    if number is None:
        return None
    if match["dozen"]:
        with localcontext(prec=len(number.as_tuple().digits) + 2):
            return number * _DOZEN
    return _scaled(number, sum(_SCALES[word] for word in _SCALE.findall(match["scale"] or "")))


def exact_value(text: str) -> Decimal | Fraction | None:
    r"""Read a :func:`quantity`, a power of ten, a fraction or a mixed number, with all digits.

    Examples
    --------
    >>> exact_value(r"-1\frac{1}{2}"), exact_value("3/4"), exact_value("0.5")
    (Fraction(-3, 2), Fraction(3, 4), Decimal('0.5'))
    """
    if (scientific := _SCIENTIFIC.fullmatch(text.strip())) is not None:
        power = int(scientific["long"] or scientific["short"])
        return _scaled(Decimal(scientific["number"]), power)
    match = _FRACTION.fullmatch(text.strip())
    if match is None:
        return quantity(text)
    numerator = match["n1"] or match["n2"] or match["n3"]
    denominator = match["d1"] or match["d2"] or match["d3"]
    whole = match["whole"] or "0"
    if max(map(len, (numerator, denominator, whole))) > _MOST_DIGITS or not int(denominator):
        return None
    fraction = Fraction(int(numerator), int(denominator))
    if match["minus"]:
        if match["whole"]:
            return None
        fraction = -fraction
    return (int(whole) + fraction) * (-1 if match["sign"] == "-" else 1)


def _negated(number: str) -> str:
    return number[1:] if number.startswith("-") else "-" + number.lstrip("+")


def _scaled(number: Decimal, power: int) -> Decimal:
    """Return a number times a power of ten; ``scaleb`` would round it to 28 digits."""
    sign, digits, exponent = number.as_tuple()
    return Decimal((sign, digits, int(exponent) + power))


def in_words(text: str) -> Decimal | None:
    """Read a whole number written in words.

    Examples
    --------
    >>> in_words("forty-two"), in_words("Two hundred and five"), in_words("two apples")
    (Decimal('42'), Decimal('205'), None)
    """
    total = group = 0
    # Each word is smaller than the one before: "two and three" is a list.
    room = scale = 10**15
    inside = _TEXT.fullmatch(text.strip())
    words = (inside[1] if inside else text).strip().casefold().rstrip(".")
    for word in _WORD_BREAK.split(words):
        value = _WORDS.get(word)
        if value is not None and value < room and (value or not total + group):
            group, room = group + value, 10 if value > _TEN_AND_NINE else 0
        elif word == "hundred" and 0 < group < _HUNDRED:
            group, room = group * _HUNDRED, _HUNDRED
        elif value is None and group and word in _SCALES and 10 ** _SCALES[word] < scale:
            scale = 10 ** _SCALES[word]
            total, group, room = total + group * scale, 0, scale
        else:
            return None
    return Decimal(total + group) if group < scale else None


def per_hundred(text: str) -> str | None:
    r"""Return what precedes a percent sign, or None if there is none.

    Examples
    --------
    >>> per_hundred(r"33\frac{1}{3}\%"), per_hundred("5")
    ('33\\frac{1}{3}', None)
    """
    value = text.strip()
    return value[:-1].rstrip("\\ ") or None if value.endswith("%") else None


def rounds_to(answer: Decimal, exact: Decimal) -> bool:
    """Return whether an answer is the exact value, rounded to at least two decimals.

    Halves may be rounded either way.

    Examples
    --------
    >>> rounds_to(Decimal("1.83"), Decimal("1.8333333333333335"))
    True
    >>> rounds_to(Decimal("1.8"), Decimal("1.8333333333333335"))
    False
    """
    decimals = -int(answer.as_tuple().exponent)
    difference = abs(Fraction(answer) - Fraction(exact))
    return decimals >= _LEAST_DECIMALS and difference <= Fraction(1, 2 * 10**decimals)


def decimals_equal(first: Decimal | Fraction, second: Decimal | Fraction) -> bool:
    """Compare two numbers: exactly, or if one has decimals, to that many of its digits.

    A decimal equals a number if it is that number rounded to its decimals and the two agree to
    :data:`DECIMAL_PLACES` significant digits, or to as many decimals if the number is not tiny.

    Parameters
    ----------
    first, second : decimal.Decimal or fractions.Fraction
        A Decimal has all the digits of its text.

    Examples
    --------
    >>> decimals_equal(Decimal("0.333333"), Fraction(1, 3))
    True
    >>> decimals_equal(Decimal("0.0000672"), Decimal("0.0000674"))
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
        difference <= size * FLOAT_NOISE
    ):
        return True
    if difference > Fraction(1, 2 * 10 ** min(map(_decimals, rounded))):
        return False
    return is_close(difference, size)


def is_close(difference: Fraction, size: Fraction) -> bool:
    """Return whether a difference is small relative to a size; see :func:`decimals_equal`."""
    unit = Fraction(1, 10**DECIMAL_PLACES)
    if difference <= size * unit:
        return True
    return difference <= unit / 2 and difference <= size * unit * 100


def _decimals(value: Decimal) -> int:
    return -int(value.as_tuple().exponent)
