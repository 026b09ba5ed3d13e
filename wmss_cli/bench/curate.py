"""Records to curate, and math-verify on them in one process. No torch."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STEPS = 20
# Steps of the reasoning before an answer: about 1,500 characters.


def write_records(path: Path, count: int) -> None:
    """Write records with correct answers of many kinds, all different, in AM-1.4M's format.

    Parameters
    ----------
    path : Path
        A .jsonl file.
    count : int
        Number of records.
    """
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            answer, reference = _answer(rng)
            lines = (
                f"Step {j}: with {rng.randint(2, 99)} and {rng.randint(2, 99)} it is the same as "
                f"before, so \\({rng.randint(2, 9)}x = {rng.randint(2, 99)}\\)."
                for j in range(_STEPS)
            )
            thinking = "\n".join(lines)
            completion = f"<think>{thinking}</think> <answer>It is \\boxed{{{answer}}}.</answer>"
            info = {"source": "bench", "reference_answer": reference, "test_case": None}
            question = {"role": "user", "content": f"Problem {i}?", "info": info}
            reply = {"role": "assistant", "content": completion, "info": {}}
            file.write(json.dumps({"messages": [question, reply]}) + "\n")


def _answer(rng: random.Random) -> tuple[str, str]:
    """Return an answer, and the reference that it equals, mostly written differently."""
    a, b, c = rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 9)
    kinds = (
        (f"{a * 100 + b}", f"{a * 100 + b}"),
        (f"\\frac{{{a}}}{{{b}}}", f"\\frac{{{a * c}}}{{{b * c}}}"),
        (f"{a}.5", f"\\frac{{{2 * a + 1}}}{{2}}"),
        (f"{c}\\sqrt{{{b}}}", f"\\sqrt{{{c * c * b}}}"),
        (f"({a}, {b})", f"({a},{b})"),
        (f"[{-a}, {b})", f"[{-a},{b})"),
        (f"x^2 + {a + b}x + {a * b}", f"(x+{a})(x+{b})"),
        (f"\\{{{a}, {a + b}\\}}", f"\\{{{a + b}, {a}\\}}"),
        (f"{a}\\%", f"{a}"),
        (f"\\frac{{{c}\\pi}}{{{b}}}", f"{c}\\pi/{b}"),
    )
    return rng.choice(kinds)


def check_alone(path: Path) -> int:
    """Verify all records as a plain script would, and return how many are right."""
    from math_verify import parse, verify

    right = 0
    for question, reply in _messages(path):
        gold = parse(f"${question['info']['reference_answer']}$")
        found = parse(reply["content"].rpartition("</think>")[2])
        right += bool(verify(gold, found))
    return right


def _messages(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["messages"]


if __name__ == "__main__":
    print(check_alone(Path(sys.argv[1])))  # noqa: T201
