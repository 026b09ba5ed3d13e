"""Decide without sympy where the writing, two numbers, words, letters or times do."""

from __future__ import annotations

import re

from wmss_cli.verify.equal import decimals_equal
from wmss_cli.verify.number import exact_value
from wmss_cli.verify.writing import writing

_WORDS = re.compile(r"(?:[^\W\d_]{4,}|no|yes)(?:[ -][^\W\d_]{4,})*", re.IGNORECASE)
# Such as 2 hours 30 minutes.
_AMOUNT = re.compile(r"(\d+) +([A-Za-z]{3,})")
_AMOUNTS = re.compile(r"(?:\d+ +[A-Za-z]{3,}(?: +and)?(?: +|,? *$)){2,}")
# math-verify does not see the base: 52 to the base 8 and to the base 9 are one to it.
_NUMERAL = re.compile(r"([0-9A-F]+)_\{?(\d+)\}?")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
# Of a question with several right options: ABD, "A, B and D", (A)(B)(D).
_OPTION = r"(?:[A-H]|\([A-H]\))"
_OPTIONS = re.compile(rf"{_OPTION}(?:(?:\s*(?:[,;、&]|\band\b)){{0,2}}\s*{_OPTION})+")
_LETTER = re.compile(r"[A-H]")
_NOON = 12
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)


def decide(answer: str, gold: str, decimal_places: int) -> bool | None:
    """Say whether two tidy texts are equal; None where it takes mathematics to know.

    Parameters
    ----------
    answer, gold : str
        As :func:`~wmss_cli.verify.writing.tidy` returns them.
    decimal_places : int
        See :func:`~wmss_cli.verify.equal.decimals_equal`.

    Examples
    --------
    >>> decide("1,800", "1800", 6), decide("A, C", "AC", 6), decide("x + 1", "1 + x", 6)
    (True, True, None)
    """
    if writing(answer) == writing(gold) != "":
        return True
    numeral, expected_numeral = _NUMERAL.fullmatch(answer), _NUMERAL.fullmatch(gold)
    if numeral and expected_numeral:
        return numeral.groups() == expected_numeral.groups()
    value, expected = exact_value(answer), exact_value(gold)
    if value is None or expected is None:
        return _decide_words(answer, gold)
    return value == expected or decimals_equal(value, expected, decimal_places)


def _decide_words(answer: str, gold: str) -> bool | None:
    # To math-verify words are products of letters: "listen" would be "silent".
    if _WORDS.fullmatch(answer) and _WORDS.fullmatch(gold):
        return False
    if _AMOUNTS.fullmatch(answer) and _AMOUNTS.fullmatch(gold):
        return _amounts(answer) == _amounts(gold)
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


def _amounts(text: str) -> list[tuple[str, str]]:
    """Return the numbers and units of an amount such as 2 hours and 30 minutes."""
    return [(n, unit.casefold().rstrip("s")) for n, unit in _AMOUNT.findall(text)]


def _is_same_time(first: re.Match[str], second: re.Match[str]) -> bool | None:
    """Compare hours and minutes; morning and afternoon only where both name them.

    Without these 24:30 and 12:15 may be ratios, and are left open.
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
    """Return hours and minutes of 24 hours."""
    hour, half = int(clock[1]), (clock[3] or "").casefold()
    if half and hour <= _NOON:
        hour = hour % _NOON + (_NOON if half == "p" else 0)
    return hour, int(clock[2] or 0)
