r"""Read plain numbers, without a parser of LaTeX: the commonest answers by far."""

from __future__ import annotations

import re
from decimal import Decimal

_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,!:; ]|\{,\}|,\\!)\s*(?=\d{3}(?!\d))")
# math-verify reads "x = 1,000" as x = 1 and 0.
_ASSIGNED_THOUSANDS = re.compile(r"=\s*-?\d{1,3}(?:,\d{3})+(?!\d|,\d)")
_PLAIN = re.compile(
    r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+|(?=\.\d))(?:\.\d*)?(?:[eE][-+]?\d{1,2})?"
)
_DECIMAL_COMMA = re.compile(r"([-+]?\d+),(\d+)")
_SCALES = {
    "": 0,
    "hundred": 2,
    "thousand": 3,
    "million": 6,
    "billion": 9,
    "trillion": 12,
}
# A unit is a word, two with a slash, or stands in \text{} or in brackets; a dozen and percent are
# none.
_QUANTITY = re.compile(
    r"(?P<sign>-?)\\?[$€£¥₹]?\s*(?P<number>-?\d[\d,]*(?:\.\d+)?)"
    rf"(?:\s+(?P<scale>{'|'.join(filter(None, _SCALES))})\b)?"
    r"(?:\s+(?!percent|pct|dozen)(?:[A-Za-z]{3,}(?:[ /][A-Za-z]{2,})*|(?:[A-Za-z]{2,}|m)/[A-Za-z]+"
    r"|\([A-Za-z]{2,}(?:[ /][A-Za-z]+)*\)))?(?:\s*[¢€£¥₹])?\.?"
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
# As many decimals as a rounded answer must have to be taken for the exact one.
_LEAST_DECIMALS = 2


def join_thousands(text: str) -> str:
    r"""Write thousands with a comma, and with nothing behind an equals sign.

    Examples
    --------
    >>> join_thousands(r"1\,800"), join_thousands("1{,}800"), join_thousands(r"x = 1,\!800")
    ('1,800', '1,800', 'x = 1800')
    """
    text = _THOUSANDS.sub(",", text)
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
    """Return the number with a point where the text may be one with a decimal comma.

    ``1,5`` may be 1.5 or a list; ``1,500`` and ``1, 5`` are no decimals.
    """
    match = _DECIMAL_COMMA.fullmatch(text.strip())
    return f"{match[1]}.{match[2]}" if match and plain_number(text) is None else None


def without_unit(text: str) -> str:
    """Return the number alone where the text is a number with a currency or a unit in words."""
    match = _QUANTITY.fullmatch(text.strip())
    return match["sign"] + match["number"] if match and not match["scale"] else text


def quantity(text: str) -> Decimal | None:
    """Read a plain number with a currency, a unit, or a word such as "million".

    Examples
    --------
    >>> quantity("$18.50"), quantity("3 million dollars"), quantity("3 x")
    (Decimal('18.50'), Decimal('3E+6'), None)
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        number = plain_number(text)
        return in_words(text) if number is None else number
    number = plain_number(match["sign"] + match["number"])
    return None if number is None else number.scaleb(_SCALES[match["scale"] or ""])


def in_words(text: str) -> Decimal | None:
    """Read a whole number that is written in words.

    Examples
    --------
    >>> in_words("forty-two"), in_words("Two hundred and five"), in_words("two apples")
    (Decimal('42'), Decimal('205'), None)
    """
    total = group = 0
    inside = _TEXT.fullmatch(text.strip())
    words = (inside[1] if inside else text).strip().casefold().rstrip(".")
    for word in _WORD_BREAK.split(words):
        if word in _WORDS:
            group += _WORDS[word]
        elif word == "hundred" and group:
            group *= 100
        elif word in _SCALES and word and group:
            total, group = total + group * 10 ** _SCALES[word], 0
        else:
            return None
    return Decimal(total + group)


def per_hundred(text: str) -> str | None:
    r"""Return what stands before a percent sign, if there is one.

    Examples
    --------
    >>> per_hundred(r"33\frac{1}{3}\%"), per_hundred("5")
    ('33\\frac{1}{3}', None)
    """
    value = text.strip()
    return value[:-1].rstrip("\\ ") or None if value.endswith("%") else None


def rounds_to(answer: Decimal, exact: Decimal) -> bool:
    """Say whether an answer is the exact value, rounded to at least two decimals.

    A half may be rounded either way.

    Examples
    --------
    >>> rounds_to(Decimal("1.83"), Decimal("1.8333333333333335"))
    True
    >>> rounds_to(Decimal("1.8"), Decimal("1.8333333333333335"))
    False
    """
    decimals = -int(answer.as_tuple().exponent)
    half = Decimal(5).scaleb(-decimals - 1)
    return decimals >= _LEAST_DECIMALS and abs(answer - exact) <= half
