"""The grader of each kind of task: ``grader(kind)`` is a function of completion and reference.

What each of them accepts, and where it differs from other evaluators, is on the page "Grading".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

from wmss_cli.verify.answer import (
    DECIMAL_PLACES,
    Verdict,
    check_math,
    is_equal,
)
from wmss_cli.verify.characters import plain_characters
from wmss_cli.verify.extract import Place, boxes, extract_answer, is_prose, math_places, statement
from wmss_cli.verify.letters import Letters, labelled, option_texts
from wmss_cli.verify.number import quantity, rounds_to
from wmss_cli.verify.writing import tidy, writing

Grader = Callable[[str, str], Verdict]
Kind = Literal["math", "number", "choice"]

_LETTERS = 5
_LETTER = re.compile(r"\s*(?:\\text\w*\s*\{)?\s*(?:\([A-E]\)|[A-E](?:[).:]|\s*\}?\s*$))")


def grader(
    kind: Kind, options: Sequence[str] | None = None, decimal_places: int = DECIMAL_PLACES
) -> Grader:
    r"""Return how answers of a kind are graded, as a function that can be pickled.

    Parameters
    ----------
    kind : {"math", "number", "choice"}
        As the YAML file of a task names it.
    options : sequence of str, optional
        Of a multiple-choice question, in the order of their letters, with or without these.
    decimal_places : int
        Decimals to which numbers are compared where one side is a decimal number.

    Examples
    --------
    >>> grader("choice", ["A)23", "B)56"])(r"It is \boxed{56}.", "B").correct
    True
    """
    if kind == "choice":
        return partial(check_choice, options=tuple(options or ()))
    check = check_number if kind == "number" else check_answer
    return partial(check, decimal_places=decimal_places)


def check_answer(text: str, gold: str, decimal_places: int = DECIMAL_PLACES) -> Verdict:
    r"""Compare with a reference that may be a formula, or the letter of a choice.

    As :func:`~wmss_cli.verify.answer.check_math` does; and where the reference is a letter, alone
    or as the label of its option, as :func:`check_choice` does, too.

    Examples
    --------
    >>> check_answer(r"\boxed{B. 12}", "B").correct, check_answer(r"\boxed{12}", "B) 12").correct
    (True, True)
    """
    label = _LETTER.match(gold)
    value = gold[label.end() :].strip() if label else ""
    verdict = check_math(text, value or gold, decimal_places)
    if verdict.correct or not label:
        return verdict
    choice = check_choice(text, gold)
    return choice if choice.correct else verdict


def check_number(text: str, gold: str, decimal_places: int = DECIMAL_PLACES) -> Verdict:
    r"""Compare as :func:`~wmss_cli.verify.answer.check_math` does, and accept rounding.

    References of MAWPS such as 1.8333333333333335 are the floats of exact values. An answer is
    right, too, where it is the reference rounded to its own decimals, at least two.

    Examples
    --------
    >>> check_number(r"\boxed{1.83}", "1.8333333333333335").correct
    True
    """
    verdict = check_math(text, gold, decimal_places)
    if verdict.correct or verdict.extracted is None:
        return verdict
    value, exact = (quantity(tidy(side)) for side in (verdict.extracted, gold))
    if value is not None and exact is not None and rounds_to(value, exact):
        return replace(verdict, correct=True, reason="correct")
    return verdict


def check_choice(text: str, gold: str, options: Sequence[str] = ()) -> Verdict:
    r"""Compare the chosen letter of a multiple-choice question with that of the reference.

    The first place with a letter, or with the value of exactly one option, counts: the last box;
    what follows the last "the answer is"; the whole answer; the letter that is named last and is
    not denied; the last formula or number. Letters in one breath ("A or B") choose nothing.

    Parameters
    ----------
    text : str
        The completion.
    gold : str
        The letter, alone or with the text of its option.
    options : sequence of str
        In the order of their letters, with or without these. Without them only letters count,
        from A to E.

    Examples
    --------
    >>> check_choice(r"It can't be A, so it's (C).", "C").correct
    True
    """
    answer = extract_answer(text)
    if answer is None:
        return Verdict(False, None, "no_answer")
    answer = plain_characters(answer)
    letters = Letters(len(options) or _LETTERS)
    expected = next((choice.letter for choice in _choices(gold, letters, ())), None)
    if expected is None:
        return Verdict(False, answer, "bad_reference")
    choice = next(_choices(answer, letters, option_texts(options)), None)
    if choice is None:
        return Verdict(False, None, "no_answer")
    correct = choice.letter == expected
    reason = "correct" if correct else "wrong_answer"
    return Verdict(correct, choice.letter or choice.text, reason, choice.place)


class _Choice(NamedTuple):
    """What a place chooses; no letter where it names several."""

    letter: str | None
    text: str
    place: Place


def _choices(answer: str, letters: Letters, options: Sequence[str]) -> Iterator[_Choice]:
    """Yield what each place chooses, in the order of what counts."""
    for place, text in _places(answer):
        value = labelled(text) if options else None
        if value and (other := _option(value, options, prose=is_prose(value))):
            # "(C) 120", where 120 is the value of D, chooses neither.
            letter = letters.only(text)
            yield _Choice(other if letter in (None, other) else None, text, place)
        elif letter := letters.only(text) or _option(text, options, prose=is_prose(text)):
            yield _Choice(letter, text, place)
        elif place != "whole" and (named := letters.named(text)):
            yield _Choice(named[0], text, place)
    if named := letters.named(answer):
        yield _Choice(named[-1], answer, "last_letter")
    for found in math_places(answer):
        if letter := _option(found.texts[0], options, prose=False):
            yield _Choice(letter, found.texts[0], found.place)


def _places(answer: str) -> Iterator[tuple[Place, str]]:
    if boxed := boxes(answer):
        yield "boxed", boxed[-1]
    if stated := statement(answer):
        yield "statement", stated.partition("\n")[0]
    if "\n" not in answer:
        yield "whole", answer


def _option(text: str, options: Sequence[str], prose: bool) -> str | None:
    """Return the letter of the only option that a text is equal to, in prose to the word."""
    if prose:
        equal = [writing(text) == writing(option) for option in options]
    else:
        equal = [is_equal(text, option) for option in options]
    return chr(ord("A") + equal.index(True)) if equal.count(True) == 1 else None
