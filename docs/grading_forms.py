r"""How many answers are graded right, by the way in which they are written.

``python docs/grading_forms.py math500.jsonl [GOLDS]`` writes each reference of a file in the forms
below, once as it is and once with one digit or sign changed, and prints a table: how many of the
first are accepted, and how many of the second are rejected.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wmss_cli.answers.graders import grader
from wmss_cli.answers.pool import Check, run_checks
from wmss_cli.core.verdict import Verdict


class Written(NamedTuple):
    """A completion, the reference that it is compared with, and the truth about it."""

    form: str
    text: str
    gold: str
    right: bool


_PLAIN = re.compile(r"-?(?:\d[\d,]*)?\.?\d+")
_WORDS = re.compile(r"\\text\s*\{")
# What can have a unit, a degree sign or a currency: one number, however it is written.
_NUMBER = re.compile(
    r"-?(?:(?:\d[\d,]*)?\.?\d+|\d*\s*\\d?frac\s*(?:\d\d|\d?\{\d+\}(?:\{\d+\}|\d)|\d\{\d+\})"
    r"|\d*\s*\\sqrt\s*(?:\{\d+\}|\d)|\d*\s*\\pi)"
)
_SIGN = re.compile(r"(?<=[^\s({\[,^_=])\s*(?P<between>[-+])|(?:^|(?<=[({\[,=]))\s*(?P<leading>-)")


def _plain(gold: str) -> str:
    """Return how a sentence has it: words and numbers as they are, formulas in dollars."""
    return gold if _PLAIN.fullmatch(gold) or _WORDS.match(gold) else f"${gold}$"


def _number(form: str) -> Callable[[str], str | None]:
    return lambda gold: form.replace("GOLD", gold) if _NUMBER.fullmatch(gold) else None


def _sentence(form: str) -> Callable[[str], str | None]:
    return lambda gold: form.replace("GOLD", _plain(gold))


FORMS: dict[str, Callable[[str], str | None]] = {
    "bare": lambda gold: gold,
    "boxed": lambda gold: rf"So it is $\boxed{{{gold}}}$.",
    "bold, followed by words": _sentence("The answer is **GOLD** when we count all 7 of them."),
    "Chinese sentence": _sentence("因此，答案是 GOLD。"),  # noqa: RUF001
    "unit": _number(r"\boxed{GOLD\text{ cm}}"),
    "Unicode minus": lambda gold: f"So the value is {_plain(gold).replace('-', chr(0x2212))}.",
    "followed by brackets": _sentence("**Answer:** GOLD (the sum of 3 and 4)"),
    "code marks": lambda gold: f"The answer is `{gold}`.",
    r"`\text`": lambda gold: (
        rf"\boxed{{\text{{{gold}}}}}"
        if _PLAIN.fullmatch(gold)
        else rf"\boxed{{\text{{The answer is }} {gold}}}"
    ),
    "degrees": _number(r"The angle is $GOLD^\circ$."),
    "currency": _number(r"They pay $\boxed{\$GOLD}$ in all."),
    "the answer is ..., so ...": _sentence("The answer is GOLD, so there are 2 ways to see it."),
}
"""Each way of writing; None for a reference that nobody writes so."""


def changed(gold: str, rng: random.Random) -> str | None:
    """Return a reference with one digit or one sign changed, None where it has neither.

    Examples
    --------
    >>> changed("x=5", random.Random(0))
    'x=8'
    """
    digits = [match.start() for match in re.finditer(r"\d", gold)]
    signs = list(_SIGN.finditer(gold))
    if not digits and not signs:
        return None if _WORDS.match(gold) else f"-{gold}"
    place = rng.randrange(len(digits) + len(signs))
    if place < len(digits):
        start = digits[place]
        other = rng.choice([digit for digit in "123456789" if digit != gold[start]])
        return gold[:start] + other + gold[start + 1 :]
    sign = signs[place - len(digits)]
    start = sign.start("between") if sign["between"] else sign.start("leading")
    other = {"+": "-", "-": "+" if sign["between"] else ""}[gold[start]]
    return gold[:start] + other + gold[start + 1 :]


def written(golds: list[str], seed: int = 0) -> Iterator[Written]:
    """Yield every reference in all of its forms, and a changed one in the same forms."""
    rng = random.Random(seed)
    for gold in golds:
        other = changed(gold, rng)
        for name, form in FORMS.items():
            if (text := form(gold)) is not None:
                yield Written(name, text, gold, True)
            if other is not None and (text := form(other)) is not None:
                yield Written(name, text, gold, False)


def graded(golds: list[str], workers: int = 2) -> Iterator[tuple[Written, Verdict]]:
    """Yield every answer with its verdict, in the order of :func:`written`."""
    grade = grader("math")
    checks = ((one, Check(grade, one.text, one.gold)) for one in written(golds))
    for one, verdict in run_checks(checks, workers, timeout_s=20.0):
        assert verdict is not None
        yield one, verdict


def read_golds(path: Path) -> list[str]:
    """Read the references of a file of rows, one JSON object a line."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["answer"]) for line in lines]


def _table(answers: list[tuple[Written, Verdict]]) -> Iterator[str]:
    yield "| form | correct | accepted | changed | rejected |"
    yield "| --- | --- | --- | --- | --- |"
    total: Counter[tuple[str, bool]] = Counter()
    good: Counter[tuple[str, bool]] = Counter()
    for one, verdict in answers:
        for name in (one.form, "all"):
            total[name, one.right] += 1
            good[name, one.right] += verdict.correct == one.right
    for name in (*FORMS, "all"):
        shares = (
            f"{total[name, kind]} | {100 * good[name, kind] / total[name, kind]:.1f} %"
            for kind in (True, False)
        )
        yield f"| {name} | {' | '.join(shares)} |"


def main(arguments: list[str]) -> None:
    """Print the answers whose verdict is not the truth, then the table."""
    golds = read_golds(Path(arguments[0]))
    count = int(arguments[1]) if len(arguments) > 1 else len(golds)
    start = time.perf_counter()
    answers = list(graded(random.Random(1).sample(golds, count)))
    for one, verdict in answers:
        if verdict.correct != one.right:
            print(f"{one.form}: {one.text!r} for {one.gold!r}: {verdict}")
    print("\n".join(_table(answers)))
    print(f"{len(answers)} answers, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
