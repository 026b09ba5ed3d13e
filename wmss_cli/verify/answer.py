"""Read the answer out of a completion, and compare it with the reference by math-verify.

Nothing here limits the time: :mod:`wmss_cli.verify.pool` runs it in processes that it can kill.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from math_verify import parse, verify
from sympy import Basic, MatrixBase

# It warns in every process that its own time limit is off; the pool has the limit.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_BOX = "\\boxed"
_SIMPLE_BOX = re.compile(r"\\boxed\{([^{}]*)\}")
_THIN_SPACE_THOUSANDS = re.compile(r"(?<=\d)\\[,!:; ](?=\d{3}(?!\d))")
# Words that multiply are no unit: "3 million" is not 3.
_QUANTITY = re.compile(
    r"\s*\\?[$€£¥]?\s*(?P<number>-?\d[\d,]*(?:\.\d+)?)"
    r"(?:\s+(?!percent|pct|hundred|thousand|million|billion|trillion|dozen)"
    r"[A-Za-z]{3,}(?:[ /][A-Za-z]{2,})*)?\.?\s*"
)


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
    """

    correct: bool
    extracted: str | None
    reason: str


def extract_answer(text: str) -> str | None:
    r"""Return the part of a completion that counts as the answer.

    That is what stands inside the last ``<answer>…</answer>`` after the thinking; without
    answer tags, all that follows ``</think>``; without any tags, the whole text. What is
    unfinished (thinking without an end, an answer that is cut off) is no answer.

    Parameters
    ----------
    text : str
        The completion.

    Returns
    -------
    str or None
        The answer without surrounding white space, None if there is none.

    Examples
    --------
    >>> extract_answer(r"<think>2 + 2</think> <answer>It is \boxed{4}.</answer>")
    'It is \\boxed{4}.'
    """
    rest = text.rpartition("</think>")[2]
    if "<think>" in rest:
        return None
    end = rest.rfind("</answer>")
    start = rest.rfind("<answer>", 0, end) if end >= 0 else -1
    if start >= 0:
        rest = rest[start + len("<answer>") : end]
    elif "<answer>" in rest:
        return None
    return rest.strip() or None


def check_math(text: str, gold: str) -> Verdict:
    r"""Compare the answer of a completion with a mathematical reference.

    With several boxes the last one counts, or all of them together as a set.

    Parameters
    ----------
    text : str
        The completion; its answer is found by :func:`extract_answer`.
    gold : str
        The reference: a number, LaTeX with or without delimiters, an amount of money,
        a number with its unit.

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
    expected = _parse_reference(gold)
    if not expected:
        return Verdict(False, answer, "bad_reference")
    shown: str | None = None
    for found in _readings(answer):
        reading = _text(found)
        shown = shown or reading
        # math-verify is not symmetric: the reference comes first.
        if verify(expected, found, timeout_seconds=None, allow_set_relation_comp=True):
            return Verdict(True, reading, "correct")
    return Verdict(False, shown, "wrong_answer" if shown else "no_answer")


def _parse_reference(gold: str) -> list[Any]:
    gold = _tidy(gold)
    if _is_delimited(gold):
        return list(parse(gold, parsing_timeout=None))
    found = list(parse(_boxed(_number(gold)), parsing_timeout=None)) if gold.strip() else []
    if not any(isinstance(value, Basic | MatrixBase) for value in found):
        found += parse(gold, parsing_timeout=None)
    return found


def _readings(answer: str) -> Iterator[list[Any]]:
    """Yield what the answer may mean, the likeliest first."""
    answer = _SIMPLE_BOX.sub(lambda box: _boxed(_number(box[1])), _tidy(answer))
    candidates = [answer]
    if _BOX in answer:
        candidates.insert(0, answer[answer.rfind(_BOX) :])
    elif not _is_delimited(answer) and "\n" not in answer:
        candidates.append(_boxed(answer))
    for candidate in candidates:
        found = list(parse(candidate, parsing_timeout=None))
        if found:
            yield found


def _text(found: list[Any]) -> str:
    """Return a reading as it was written: math-verify puts the string behind the expression."""
    return next((value for value in found if isinstance(value, str)), str(found[0]))


def _tidy(text: str) -> str:
    return _THIN_SPACE_THOUSANDS.sub(",", text)


def _number(text: str) -> str:
    """Return the number alone where the text is a number with a currency or a unit in words."""
    quantity = _QUANTITY.fullmatch(text)
    return quantity["number"] if quantity else text


def _boxed(text: str) -> str:
    return f"{_BOX}{{{text}}}"


def _is_delimited(text: str) -> bool:
    return any(mark in text for mark in (_BOX, "\\(", "\\[")) or text.count("$") >= 2
