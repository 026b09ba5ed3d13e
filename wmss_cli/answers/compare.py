"""Compare an answer with a reference: as text, as amounts and numbers, or by math-verify.

Nothing here limits the time: :mod:`wmss_cli.answers.pool` runs it in processes that it can kill.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from string import ascii_lowercase
from typing import Any

from math_verify import parse
from sympy import Basic, MatrixBase

from wmss_cli.answers.direct import amounts_equal, decide
from wmss_cli.answers.extract import boxes, is_delimited
from wmss_cli.answers.formula import number_of, readings, values_equal
from wmss_cli.answers.notation import congruence, in_radians, tidy
from wmss_cli.answers.number import decimals_equal, exact_value, per_hundred

# It warns in every process that its own time limit is off; the pool limits the time.
logging.getLogger("math_verify").setLevel(logging.ERROR)

# A single formula in dollars or LaTeX brackets.
_ONE_MARKED = re.compile(
    r"\$\$((?:[^$\\]|\\.)+)\$\$|\$((?:[^$\\]|\\.)+)\$"
    r"|\\\(((?:[^\\]|\\[^()])+)\\\)|\\\[((?:[^\\]|\\[^\[\]])+)\\\]"
)
_BOX_START = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])")
# If there are more words between two boxes of a reference, the first one is a step.
_WORDS_BETWEEN = 4
_WORD = re.compile(r"[^\W_]")
_TUPLE = re.compile(r"\((?=[^()]*,)[^()]*\)")
_SET = re.compile(r"\\\{(.*)\\\}")
# Values of several variables: x = 3, y = -1.
_NEXT_NAME = re.compile(
    r"(?:\s*(?:,|;|\band\b|\\text\s*\{\s*and\s*\}|\\q?quad))+\s*(?=[A-Za-z]\s*=)"
)
_ASSIGNED = re.compile(r"(?P<name>[A-Za-z])\s*=\s*(?P<value>[^=<>]+)")
_COMMANDS = re.compile(r"\\(?:text\w*|mbox|mathrm)\s*\{[^{}]*\}|\\[A-Za-z]+")
_VARIABLE = re.compile(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])")


def is_equal(answer: str, gold: str) -> bool:
    """Return whether two formulas, numbers or words are the same."""
    return compare(answer, gold) is True


def compare(answer: str, gold: str) -> bool | None:
    """Compare in the cheapest way that decides.

    Returns
    -------
    bool or None
        None if the reference cannot be read.
    """
    answer, gold = tidy(answer), tidy(gold)
    if is_delimited(answer):
        answer = _undelimited(answer)
    if (equal := amounts_equal(answer, gold)) is not None:
        return equal
    percent, expected_percent = per_hundred(answer), per_hundred(gold)
    if percent is None and expected_percent is None:
        return _compare_values(answer, gold)
    if percent is not None and expected_percent is not None:
        return _compare_values(percent, expected_percent)
    if expected_percent is not None:
        either = (expected_percent, _hundredth(expected_percent))
        return any(_compare_values(answer, value) for value in either)
    assert percent is not None
    if _compare_values(_hundredth(percent), gold):
        return True
    # 18 % for 18 only adds a percent sign; 1/2 % for 1/2 is a different value.
    return not _is_small(percent) and _compare_values(percent, gold)


def _compare_values(answer: str, gold: str) -> bool | None:
    if (equal := decide(answer, gold)) is not None:
        return equal
    named, expected_named = _by_name(answer), _by_name(gold)
    if named is not None and _TUPLE.fullmatch(gold):
        return _compare_values(named, gold)
    if expected_named is not None and _TUPLE.fullmatch(answer):
        return _compare_values(answer, expected_named)
    if (expected_congruence := congruence(gold)) != (found_congruence := congruence(answer)):
        if found_congruence is None or expected_congruence is not None:
            return False
        return _compare_values(found_congruence[0], gold)
    radians, expected_radians = in_radians(answer), in_radians(gold)
    if radians is not None and expected_radians is None and r"\pi" in gold:
        answer = radians
    elif expected_radians is not None and radians is None and r"\pi" in answer:
        gold = expected_radians
    expected = _parse_reference(gold)
    if not expected:
        return None
    if _is_tuple_for_list(answer, gold) or _is_other_case(answer, gold):
        return False
    written = [exact_value(side) for side in (answer, gold)]
    for found in readings(answer):
        for value in found:
            for reference in expected:
                if _values_equal(value, reference, written):
                    return True
    return False


def _values_equal(value: Any, reference: Any, written: Sequence[Decimal | Fraction | None]) -> bool:
    """Compare two values; a plain number keeps all its written digits."""
    if (written[0] is None) != (written[1] is None):
        numbers = [number_of(value), number_of(reference)]
        sides = [
            number if exact is None else exact
            for exact, number in zip(written, numbers, strict=True)
        ]
        if sides[0] is not None and sides[1] is not None:
            from_decimal = [side for side in written if isinstance(side, Decimal)]
            if from_decimal and from_decimal[0] != from_decimal[0].to_integral_value():
                return decimals_equal(sides[0], sides[1])
    return values_equal(reference, value)


@lru_cache(maxsize=16)
def _parse_reference(gold: str) -> list[Any]:
    """Return all possible meanings of a reference, read anew for each place of an answer."""
    if boxes(gold):
        found = [value for reading in readings(tidy(_last_boxes(gold))) for value in reading]
    elif is_delimited(gold) and is_delimited(_undelimited(gold)):
        found = list(parse(gold, parsing_timeout=None))
    else:
        found = [value for reading in readings(_undelimited(gold)) for value in reading]
    return [value for value in found if isinstance(value, Basic | MatrixBase)]


def _last_boxes(gold: str) -> str:
    """Return the last boxes of a reference, with at most a few words between them."""
    parts = _BOX_START.split(gold)
    found = boxes(gold)
    count = 1
    for part, content in zip(parts[-2:0:-1], found[-2::-1], strict=True):
        if len(part.partition(content)[2].split()) > _WORDS_BETWEEN:
            break
        count += 1
    return ", ".join(found[-count:])


def can_be_read(gold: str) -> bool:
    """Return whether a reference can be compared with: it has a value, or words."""
    return bool(_parse_reference(per_hundred(gold) or gold)) or _WORD.search(gold) is not None


def _undelimited(text: str) -> str:
    """Return the formula itself if a text is one marked formula."""
    match = _ONE_MARKED.fullmatch(text.strip())
    return tidy(next(filter(None, match.groups()))) if match else text


def _hundredth(value: str) -> str:
    exact = exact_value(value)
    if isinstance(exact, Decimal):
        sign, digits, exponent = exact.as_tuple()
        return f"{Decimal((sign, digits, int(exponent) - 2)):f}"
    return rf"\frac{{{value}}}{{100}}"


def _is_small(value: str) -> bool:
    exact = exact_value(value)
    number = number_of(next(readings(value), [None])[0]) if exact is None else Fraction(exact)
    return number is not None and abs(number) < 1


def _by_name(text: str) -> str | None:
    """Return the values of several variables as a tuple.

    Names that follow one another in the alphabet, such as x, y, z, give the order; for others, such
    as m and b, it is the one in which they are written.
    """
    found = [_ASSIGNED.fullmatch(part.strip()) for part in _NEXT_NAME.split(text)]
    values = {match["name"]: match["value"].strip() for match in found if match is not None}
    if len(values) < 2 or len(values) != len(found):
        return None
    names = "".join(sorted(values))
    order = names if names.lower() in ascii_lowercase else values
    return f"({','.join(values[name] for name in order)})"


def _is_tuple_for_list(answer: str, gold: str) -> bool:
    """Return whether an ordered pair is given for values without an order, as (1, -2) for 1, -2."""
    is_tuple = _TUPLE.fullmatch(answer) is not None
    is_set = _SET.fullmatch(gold)
    return is_tuple and "," in gold and not re.search(r"[=(\[\\{;]", is_set[1] if is_set else gold)


def _is_other_case(answer: str, gold: str) -> bool:
    """Return whether a variable's case differs between the two, which math-verify ignores."""
    one, other = (set(_VARIABLE.findall(_COMMANDS.sub(" ", side))) for side in (answer, gold))
    folded = {name.lower() for name in one}, {name.lower() for name in other}
    return one != other and folded[0] == folded[1]
