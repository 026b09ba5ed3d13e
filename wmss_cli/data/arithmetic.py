"""Generated arithmetic word problems in the AM-1.4M record format, for the demo.

A problem starts from a value of 1 to 99 and adds or takes away 1 to 20 at each step, so that
every value stays within 0 to 99. The reasoning has one equation per line. All functions depend
only on their seed, on every machine.

A hash of its text decides whether a question belongs to the test set, so training and test are
disjoint for all seeds and sizes.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_VALUE = 99
OPERANDS = (1, 2, 3, 5, 10, 20)
STEPS = (2, 3, 4)

_NAMES = ("Tom", "Anna", "Ben", "Lucy", "Max", "Nora", "Paul", "Rosa")
_THINGS = ("apples", "books", "cards", "coins", "cups", "pens", "shells", "stamps")
_GAINS = ("buys", "finds", "gets", "wins")
_LOSSES = ("drops", "loses", "sells", "uses")
_TEST_SHARE = 0.25
_MOST_DRAWS = 10_000

Record = dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """A question, its reasoning line by line, and its answer."""

    question: str
    steps: tuple[str, ...]
    answer: int


Maker = Callable[[random.Random], Problem]


def pretrain_records(n: int, seed: int) -> list[Record]:
    """Return records to pretrain the base model on: all parts of the task, but not the task itself.

    Half are bare equations, a quarter problems of one step, and a quarter problems of 2 to 4
    steps with the equations in the wrong order. All answers are right.

    Parameters
    ----------
    n : int
        Number of records, no two with the same question.
    seed : int
        Seed of the generator.
    """
    rng = _generator("pretrain", seed)
    makers: tuple[Maker, ...] = (_equation, _one_step, _equation, _shuffled)
    seen: set[str] = set()
    return [_record(_new(rng, makers[i % len(makers)], seen, test=False)) for i in range(n)]


def train_records(n: int, seed: int, wrong_fraction: float) -> list[Record]:
    """Return problems of 2 to 4 steps to train on, some of them faulty on purpose.

    The faults, in equal shares, are those that curation should find: a wrong answer, missing
    answer tags, truncated reasoning, an exact copy of another record, no reference answer.

    Parameters
    ----------
    n : int
        Number of records, the faulty ones included.
    seed : int
        Seed of the generator.
    wrong_fraction : float
        Share of faulty records, from 0 up to (not including) 1.
    """
    assert 0.0 <= wrong_fraction < 1.0
    rng = _generator("train", seed)
    seen: set[str] = set()
    good = [
        _record(_new(rng, _task, seen, test=False)) for _ in range(n - _wrong(n, wrong_fraction))
    ]
    faults = (_wrong_answer, _missing_tags, _cut_short, _copy, _no_reference)
    bad: list[Record] = []
    for i in range(n - len(good)):
        fault = faults[i % len(faults)]
        source = rng.choice(good) if fault is _copy else _record(_new(rng, _task, seen, test=False))
        bad.append(fault(source, rng))
    records = good + bad
    rng.shuffle(records)
    return records


def test_problems(n: int, seed: int) -> list[dict[str, str]]:
    """Return test problems of 2 to 4 steps: rows of `id`, `question` and `answer`.

    Parameters
    ----------
    n : int
        Number of rows, no two with the same question.
    seed : int
        Seed of the generator.
    """
    rng = _generator("test", seed)
    seen: set[str] = set()
    problems = [_new(rng, _task, seen, test=True) for _ in range(n)]
    return [
        {"id": f"arithmetic-{i}", "question": problem.question, "answer": str(problem.answer)}
        for i, problem in enumerate(problems, start=1)
    ]


# pytest would take a function whose name begins with test_ for a test.
test_problems.__test__ = False  # type: ignore[attr-defined]


def json_lines(records: Sequence[Record], broken: int, seed: int) -> Iterator[str]:
    """Yield one line of JSON per record, and `broken` lines that are cut in the middle.

    Parameters
    ----------
    records : sequence of dict
        The records, in order.
    broken : int
        Number of broken lines, each after a random record.
    seed : int
        Seed for their positions.
    """
    rng = _generator("broken", seed)
    places = set(rng.sample(range(len(records)), broken))
    for i, record in enumerate(records):
        line = json.dumps(record, ensure_ascii=False)
        yield line + "\n"
        if i in places:
            yield line[: len(line) // 2] + "\n"


def is_test_question(question: str) -> bool:
    """Return whether a question belongs to the test set (a quarter of all do)."""
    return hashlib.sha256(question.encode()).digest()[0] < 256 * _TEST_SHARE


def _generator(name: str, seed: int) -> random.Random:
    return random.Random(f"{name} {seed}")


def _new(rng: random.Random, make: Maker, seen: set[str], test: bool) -> Problem:
    """Draw until the question is new and on the wanted side of the split."""
    for _ in range(_MOST_DRAWS):
        problem = make(rng)
        if problem.question not in seen and is_test_question(problem.question) == test:
            seen.add(problem.question)
            return problem
    raise AssertionError(f"there are barely more than {len(seen)} different questions of this kind")


def _step(rng: random.Random, value: int) -> tuple[str, int, int]:
    """Return sign, operand and result of a step that stays within the allowed values."""
    while True:
        operand = rng.choice(OPERANDS)
        sign = rng.choice("+-")
        result = value + operand if sign == "+" else value - operand
        if 0 <= result <= MAX_VALUE:
            return sign, operand, result


def _word_problem(rng: random.Random, steps: int) -> Problem:
    value = rng.randint(1, MAX_VALUE)
    clauses = [f"{rng.choice(_NAMES)} has {value} {rng.choice(_THINGS)}"]
    lines = []
    for _ in range(steps):
        sign, operand, result = _step(rng, value)
        if sign == "+":
            clauses.append(f"{rng.choice(_GAINS)} {operand} more")
        else:
            clauses.append(f"{rng.choice(_LOSSES)} {operand}")
        lines.append(f"{value}{sign}{operand}={result}")
        value = result
    return Problem(f"{', '.join(clauses)}. How many are left?", tuple(lines), value)


def _one_step(rng: random.Random) -> Problem:
    return _word_problem(rng, 1)


def _task(rng: random.Random) -> Problem:
    return _word_problem(rng, rng.choice(STEPS))


def _shuffled(rng: random.Random) -> Problem:
    problem = _task(rng)
    lines = list(problem.steps)
    while tuple(lines) == problem.steps:
        rng.shuffle(lines)
    return Problem(problem.question, tuple(lines), problem.answer)


def _equation(rng: random.Random) -> Problem:
    value = rng.randint(1, MAX_VALUE)
    sign, operand, result = _step(rng, value)
    asked = f"{value}{sign}{operand}"
    return Problem(f"{rng.choice(_NAMES)} computes {asked}.", (f"{asked}={result}",), result)


def _record(problem: Problem) -> Record:
    think, answer = "\n".join(problem.steps), str(problem.answer)
    user = {"source": "arithmetic", "reference_answer": answer, "test_case": None}
    assistant = {"source": "arithmetic", "reference_answer": None, "test_case": None}
    return {
        "messages": [
            {
                "role": "user",
                "content": problem.question,
                "info": {**user, "think_content": None, "answer_content": None},
            },
            {
                "role": "assistant",
                "content": f"<think>{think}</think>\n<answer>{answer}</answer>",
                "info": {**assistant, "think_content": think, "answer_content": answer},
            },
        ]
    }


def _wrong(n: int, fraction: float) -> int:
    return round(n * fraction)


def _wrong_answer(record: Record, rng: random.Random) -> Record:
    user, assistant = record["messages"]
    wrong = str(int(user["info"]["reference_answer"]) + rng.choice((-10, -1, 1, 10)))
    think = assistant["info"]["think_content"]
    assistant["content"] = f"<think>{think}</think>\n<answer>{wrong}</answer>"
    assistant["info"]["answer_content"] = wrong
    return record


def _missing_tags(record: Record, rng: random.Random) -> Record:
    del rng
    assistant = record["messages"][1]
    for tag in ("<answer>", "</answer>"):
        assistant["content"] = assistant["content"].replace(tag, "")
    assistant["info"]["answer_content"] = None
    return record


def _cut_short(record: Record, rng: random.Random) -> Record:
    assistant = record["messages"][1]
    think = assistant["info"]["think_content"]
    assistant["content"] = "<think>" + think[: rng.randrange(1, len(think))]
    assistant["info"] |= {"think_content": None, "answer_content": None}
    return record


def _copy(record: Record, rng: random.Random) -> Record:
    del rng
    return copy.deepcopy(record)


def _no_reference(record: Record, rng: random.Random) -> Record:
    del rng
    record["messages"][0]["info"]["reference_answer"] = None
    return record
