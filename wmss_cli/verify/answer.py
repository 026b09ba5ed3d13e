"""Compare the answer of a completion with the reference: by writing, as numbers, by math-verify.

Nothing here limits the time: :mod:`wmss_cli.verify.pool` runs it in processes that it can kill.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from math_verify import parse, verify
from sympy import Basic, MatrixBase

from wmss_cli.verify.extract import (
    Place,
    boxes,
    extract_answer,
    is_delimited,
    is_prose,
    math_places,
)
from wmss_cli.verify.intervals import union
from wmss_cli.verify.number import decimal_comma, per_hundred, plain_number, without_unit
from wmss_cli.verify.quick import decide
from wmss_cli.verify.writing import in_latex, mark_formula, tidy

# It warns in every process that its own time limit is off; the pool has the limit.
logging.getLogger("math_verify").setLevel(logging.ERROR)

DECIMAL_PLACES = 6
"""Decimals to which an answer is compared where one side is a decimal number."""


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and why.

    Attributes
    ----------
    correct : bool
        True only where a verifier accepted the answer.
    extracted : str or None
        What was compared with the reference; None where no answer was found.
    reason : str
        ``correct``, ``wrong_answer``, ``no_answer`` (none found, or nothing in it can be
        read), ``bad_reference`` (the reference cannot be read), ``timeout`` or ``crash``.
    found_in : str or None
        The place of what was compared, one of :data:`~wmss_cli.verify.extract.Place`; None
        where no answer was found.
    """

    correct: bool
    extracted: str | None
    reason: str
    found_in: Place | None = None


def check_math(text: str, gold: str, decimal_places: int = DECIMAL_PLACES) -> Verdict:
    r"""Compare the answer of a completion with a mathematical reference.

    The first of the :func:`~wmss_cli.verify.extract.math_places` in which something can be read
    counts, right or wrong.

    Parameters
    ----------
    text : str
        The completion; its answer is found by :func:`~wmss_cli.verify.extract.extract_answer`.
    gold : str
        The reference: a number, LaTeX with or without delimiters, an amount of money,
        a number with its unit.
    decimal_places : int
        Decimals to which numbers are compared where one side is a decimal number.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> check_math(r"<think>x</think><answer>\boxed{\frac{1}{2}}</answer>", "0.5").correct
    True
    """
    answer = extract_answer(text)
    if answer is None:
        return Verdict(False, None, "no_answer")
    if not gold.strip():
        return Verdict(False, answer, "bad_reference")
    for found in math_places(answer):
        shown: str | None = None
        for candidate in found.texts:
            prose = found.place != "boxed" and is_prose(candidate)
            compared = _compare(candidate, gold, decimal_places, prose)
            if compared is not None and compared.equal:
                return Verdict(True, compared.shown, "correct", found.place)
            if compared is not None and shown is None:
                shown = compared.shown
        if shown is not None:
            return Verdict(False, shown, "wrong_answer", found.place)
    if not _parse_reference(tidy(gold)):
        return Verdict(False, answer, "bad_reference")
    return Verdict(False, None, "no_answer")


def is_equal(answer: str, gold: str, decimal_places: int = DECIMAL_PLACES) -> bool:
    """Say whether two formulas, numbers or words are the same; see :func:`check_math`."""
    compared = _compare(answer, gold, decimal_places, is_prose(answer))
    return compared is not None and compared.equal


class _Compared(NamedTuple):
    """Whether they are equal, and what of the answer was compared."""

    equal: bool
    shown: str


def _compare(answer: str, gold: str, decimal_places: int, prose: bool) -> _Compared | None:
    """Compare by the cheapest way that decides; None where one of them cannot be read."""
    answer, gold = tidy(answer), tidy(gold)
    if (equal := decide(answer, gold)) is not None:
        return _Compared(equal, answer)
    expected = _parse_reference(gold)
    if not expected:
        return None
    shown: str | None = None
    for found in _readings(answer, prose):
        reading = _text(found) if prose else answer
        # A sentence in which there is no mathematics is no answer, unless it is the reference.
        if not prose or any(isinstance(value, Basic | MatrixBase) for value in found):
            shown = shown or reading
        # math-verify is not symmetric: the reference comes first.
        if verify(
            expected,
            found,
            float_rounding=decimal_places,
            timeout_seconds=None,
            allow_set_relation_comp=True,
        ):
            return _Compared(True, reading)
    return None if shown is None else _Compared(False, shown)


@lru_cache(maxsize=16)
def _parse_reference(gold: str) -> list[Any]:
    """Return all that a reference may mean; it is read again for each place of an answer."""
    if boxes(gold) or is_delimited(gold):
        return list(parse(gold, parsing_timeout=None))
    found: list[Any] = []
    meanings = (without_unit(in_latex(gold)), decimal_comma(gold), union(gold), *_percent(gold))
    for text in filter(None, meanings):
        found += parse(_boxed(text), parsing_timeout=None)
    if not any(isinstance(value, Basic | MatrixBase) for value in found):
        found += parse(gold, parsing_timeout=None)
    return found


def _readings(answer: str, prose: bool) -> Iterator[list[Any]]:
    """Yield what the answer may mean, the likeliest first."""
    formula = answer if is_delimited(answer) else without_unit(in_latex(answer))
    sentence = answer if is_delimited(answer) else mark_formula(answer)
    candidates = [sentence if prose else _boxed(formula)]
    if (decimal := decimal_comma(answer)) is not None:
        candidates.append(_boxed(decimal))
    if not prose:
        candidates += [_boxed(value) for value in _percent(answer)]
        if (intervals := union(answer)) is not None:
            candidates.insert(0, _boxed(intervals))
    for candidate in candidates:
        found = list(parse(candidate, parsing_timeout=None))
        if found:
            yield found


def _percent(formula: str) -> tuple[str, ...]:
    """Return what a formula in percent may mean; math-verify knows it of plain numbers."""
    value = per_hundred(formula)
    if value is None or plain_number(value) is not None:
        return ()
    return in_latex(value), rf"\frac{{{in_latex(value)}}}{{100}}"


def _text(found: list[Any]) -> str:
    """Return a reading as it was written: math-verify puts the string behind the expression."""
    return next((value for value in found if isinstance(value, str)), str(found[0]))


def _boxed(text: str) -> str:
    return rf"\boxed{{{text}}}"
