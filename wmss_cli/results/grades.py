"""The verdicts on a study's answers as arrays, without the answers' texts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wmss_cli.core.errors import ConfigError

GENERATIONS_FILE = "generations.parquet"

_COLUMNS = ("task", "id", "reference_answer", "correct", "finish_reason", "tokens")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grades:
    """The verdicts of one evaluation on one task.

    Attributes
    ----------
    shares : dict of str to float
        The share of right answers by problem (see :func:`problem_key`), in order.
    answers, cut, tokens : int
        Numbers of answers, of answers that were cut at the limit, and of all their tokens.
    """

    shares: dict[str, float]
    answers: int
    cut: int
    tokens: int


def problem_key(id_: str, reference: str) -> str:
    """Name a problem: the same id with a different answer is a different problem."""
    return f"{id_} ({hashlib.sha256(reference.encode()).hexdigest()[:8]})"


def read_grades(folder: Path) -> dict[str, Grades]:
    """Read the verdicts of an evaluation, by task.

    Raises
    ------
    ConfigError
        If the folder contains no answers.
    """
    path = folder / GENERATIONS_FILE
    if not path.is_file():
        raise ConfigError(f"{path}: not there; is {folder} written by eval or grade?")
    table = pq.read_table(path, columns=list(_COLUMNS))
    columns = [table[name].to_pylist() for name in _COLUMNS]
    verdicts: dict[str, dict[str, list[bool]]] = {}
    totals: dict[str, list[int]] = {}
    for task, id_, reference, correct, reason, tokens in zip(*columns, strict=True):
        problems = verdicts.setdefault(task, {})
        problems.setdefault(problem_key(id_, reference), []).append(correct)
        total = totals.setdefault(task, [0, 0, 0])
        total[0] += 1
        total[1] += reason == "length"
        total[2] += tokens
    return {
        task: Grades({key: sum(own) / len(own) for key, own in problems.items()}, *totals[task])
        for task, problems in verdicts.items()
    }


def matrix(grades: Sequence[Grades], problems: Sequence[str], where: str) -> Floats:
    """Return the shares of right answers as ``[seeds, problems]``.

    Raises
    ------
    ConfigError
        If an evaluation has different problems; `where` names it.
    """
    for one in grades:
        alone = one.shares.keys() ^ set(problems)
        if alone:
            raise ConfigError(
                f"{where}: {len(alone)} problems are not in all evaluations (first: "
                f"{min(alone)}); evaluate all models on the same rows, with the same eval.limit"
            )
    return np.array([[one.shares[key] for key in problems] for one in grades], dtype=np.float64)


def problems_of(
    tasks: Sequence[str], all_grades: Sequence[Mapping[str, Grades]]
) -> dict[str, list[str]]:
    """Return the problems of each task, in the order of the first evaluation that has it."""
    return {
        task: next(list(grades[task].shares) for grades in all_grades if task in grades)
        for task in tasks
    }
