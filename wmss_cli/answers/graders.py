"""The graders of tasks: ``grader(kind)`` is a function of completion and reference.

What each of them accepts, and where it differs from other evaluators, is on the page "Grading".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from wmss_cli.answers.choice import check_choice
from wmss_cli.answers.compare import can_be_read, compare
from wmss_cli.answers.extract import extract_answer, math_places
from wmss_cli.answers.notation import tidy
from wmss_cli.answers.number import quantity, rounds_to
from wmss_cli.core.verdict import Verdict

Grader = Callable[[str, str], Verdict]
Kind = Literal["math", "number", "choice"]

_LETTER = re.compile(r"\s*(?:\\text\w*\s*\{)?\s*(?:\([A-E]\)|[A-E](?:[).:]|\s*\}?\s*$))")


def grader(kind: Kind, options: Sequence[str] | None = None) -> Grader:
    r"""Return how answers of a kind are graded, as a function that can be pickled.

    Parameters
    ----------
    kind : {"math", "number", "choice"}
        As named in the YAML file of a task.
    options : sequence of str, optional
        The options of a multiple-choice question, in order, with or without their letters.

    Examples
    --------
    >>> grader("choice", ["A)23", "B)56"])(r"It is \boxed{56}.", "B").correct
    True
    """
    if kind == "choice":
        return partial(check_choice, options=tuple(options or ()))
    return check_number if kind == "number" else check_answer


def check_math(text: str, gold: str) -> Verdict:
    r"""Compare the answer of a completion with a mathematical reference.

    The first of the :func:`~wmss_cli.answers.extract.math_places` with anything readable counts,
    right or wrong.

    Parameters
    ----------
    text : str
        The completion; its answer is found by :func:`~wmss_cli.answers.extract.extract_answer`.
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
        return Verdict("no_answer")
    if not gold.strip():
        return Verdict("bad_reference", answer)
    for found in math_places(answer):
        shown: str | None = None
        for candidate in found.texts:
            equal = compare(candidate, gold)
            if equal:
                return Verdict("correct", tidy(candidate), found.place)
            if equal is not None and shown is None:
                shown = tidy(candidate)
        if shown is not None:
            return Verdict("wrong_answer", shown, found.place)
    if not can_be_read(tidy(gold)):
        return Verdict("bad_reference", answer)
    return Verdict("no_answer")


def check_answer(text: str, gold: str) -> Verdict:
    r"""Compare with a reference that may be a formula or the letter of a choice.

    It works as :func:`check_math`; if the reference is a letter, alone or as the label of its
    option, also as :func:`check_choice`.

    Examples
    --------
    >>> check_answer(r"\boxed{B. 12}", "B").correct, check_answer(r"\boxed{12}", "B) 12").correct
    (True, True)
    """
    label = _LETTER.match(gold)
    value = gold[label.end() :].strip() if label else ""
    verdict = check_math(text, value or gold)
    if verdict.correct or not label:
        return verdict
    choice = check_choice(text, gold)
    return choice if choice.correct else verdict


def check_number(text: str, gold: str) -> Verdict:
    r"""Compare as :func:`check_math` does, and also accept rounding.

    References of MAWPS such as 1.8333333333333335 are the floats of exact values. An answer is
    also right if it is the reference rounded to the answer's decimals, at least two.

    Examples
    --------
    >>> check_number(r"\boxed{1.83}", "1.8333333333333335").correct
    True
    """
    verdict = check_math(text, gold)
    if verdict.correct or verdict.extracted is None:
        return verdict
    value, exact = (quantity(tidy(side)) for side in (verdict.extracted, gold))
    if value is not None and exact is not None and rounds_to(value, exact):
        return replace(verdict, reason="correct")
    return verdict
