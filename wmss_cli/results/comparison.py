"""Is one model, or one arm, better than another? Compares evaluations of the same problems."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import GENERATION, read_parquet
from wmss_cli.results.crossed import Estimate, Floats, SeedDifference, difference, estimate
from wmss_cli.results.grades import GENERATIONS_FILE
from wmss_cli.results.statistics import Difference, holm, paired_difference

ALL = "all problems"
MEAN = "mean over tasks"
SIGNIFICANT = 0.05

Shares = dict[str, dict[str, float]]
"""The share of right answers, by task and problem."""


A = TypeVar("A", float, Estimate)
D = TypeVar("D", Difference, SeedDifference)


@dataclass(frozen=True)
class Comparison(Generic[A, D]):
    """Two models on one task, or two arms with several seeds each.

    Attributes
    ----------
    task : str
        Its name; :data:`ALL`; or, for arms, :data:`MEAN`, where each task has the same weight.
    first, second : float or Estimate
        Accuracies (mean@n); for arms with an interval.
    difference : Difference or SeedDifference
        Second minus first; for arms paired by problem and seed.
    p : float
        p value of the difference, corrected by Holm's method for the number of tasks. For
        :data:`ALL` and :data:`MEAN` it is not corrected, since each is a question of its own.
    """

    task: str
    first: A
    second: A
    difference: D
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is more than noise, at the 5 % level."""
        return self.p < SIGNIFICANT


ModelComparison = Comparison[float, Difference]
SeedComparison = Comparison[Estimate, SeedDifference]


def read_shares(folder: Path) -> Shares:
    """Read the graded answers of an evaluation.

    Raises
    ------
    ConfigError
        If the folder contains no graded answers.
    """
    table = read_parquet(folder / GENERATIONS_FILE, GENERATION)
    verdicts: dict[str, dict[str, list[bool]]] = {}
    names = ("task", "id", "reference_answer", "correct")
    for task, id_, reference, correct in zip(*(table[n].to_pylist() for n in names), strict=True):
        # The same id with a different answer is a different problem.
        problem = f"{id_} ({hashlib.sha256(reference.encode()).hexdigest()[:8]})"
        verdicts.setdefault(task, {}).setdefault(problem, []).append(correct)
    return {
        task: {problem: float(np.mean(own)) for problem, own in problems.items()}
        for task, problems in verdicts.items()
    }


def compare(first: Shares, second: Shares) -> list[ModelComparison]:
    """Compare two evaluations by task, and over all problems.

    Raises
    ------
    ConfigError
        If they have no task in common, or different problems in one that they share.
    """
    shared = [task for task in first if task in second]
    if not shared:
        raise ConfigError(
            f"no task in common: {', '.join(first)} on one side, {', '.join(second)} on the other"
        )
    for task in shared:
        alone = first[task].keys() ^ second[task].keys()
        if alone:
            raise ConfigError(
                f"task {task}: {len(alone)} problems are on one side only (first: "
                f"{min(alone)}); evaluate both models on the same rows, with the same eval.limit"
            )
    found = [_paired(task, first[task], second[task]) for task in shared]
    corrected = holm([one.difference.p for one in found])
    rows = [
        Comparison(one.task, one.first, one.second, one.difference, p)
        for one, p in zip(found, corrected, strict=True)
    ]
    if len(shared) > 1:
        rows.append(_paired(ALL, _joined(first, shared), _joined(second, shared)))
    return rows


def compare_seeds(
    first: Mapping[str, Shares], second: Mapping[str, Shares]
) -> list[SeedComparison]:
    """Compare two arms by task, and over tasks if there are several.

    Parameters
    ----------
    first, second : mapping
        By name of the evaluation, which errors quote: the seeds of an arm, the same on both sides
        and in the same order. A model that depends on no seed may be alone on its side.

    Raises
    ------
    ConfigError
        If the sides have different numbers of seeds, or if two evaluations have different tasks,
        or different problems in a task.
    """
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ConfigError(
            f"{len(first)} seeds on one side and {len(second)} on the other: "
            f"{', '.join(first)}; {', '.join(second)}; give the same seeds of both"
        )
    tasks = _problems([*first.items(), *second.items()])
    a, b = (
        {task: _rows(side, task, ids) for task, ids in tasks.items()} for side in (first, second)
    )
    found = [difference({task: a[task]}, {task: b[task]}) for task in tasks]
    corrected = holm([one.p for one in found])
    rows = [
        SeedComparison(task, estimate({task: a[task]}), estimate({task: b[task]}), one, p)
        for task, one, p in zip(tasks, found, corrected, strict=True)
    ]
    if len(tasks) > 1:
        over_tasks = difference(a, b)
        rows.append(SeedComparison(MEAN, estimate(a), estimate(b), over_tasks, over_tasks.p))
    return rows


def _problems(evaluations: Sequence[tuple[str, Shares]]) -> dict[str, list[str]]:
    """Return the problems of each task, which all evaluations must have."""
    (reference, shares), *others = evaluations
    for name, own in others:
        alone = sorted(shares.keys() ^ own.keys())
        if alone:
            raise ConfigError(
                f"{reference} and {name}: only one has task {alone[0]}; evaluate all seeds of both "
                "on the same tasks"
            )
        for task, problems in shares.items():
            differ = problems.keys() ^ own[task].keys()
            if differ:
                raise ConfigError(
                    f"{reference} and {name}, task {task}: {len(differ)} problems are in one only "
                    f"(first: {min(differ)}); evaluate all on the same rows, with the same "
                    "eval.limit"
                )
    return {task: list(problems) for task, problems in shares.items()}


def _rows(seeds: Mapping[str, Shares], task: str, problems: Sequence[str]) -> Floats:
    """Return shares as ``[seeds, problems]``."""
    return np.array([[own[task][problem] for problem in problems] for own in seeds.values()])


def _paired(task: str, first: Mapping[str, float], second: Mapping[str, float]) -> ModelComparison:
    a = np.array([first[problem] for problem in first])
    b = np.array([second[problem] for problem in first])
    difference = paired_difference(a, b)
    return Comparison(task, float(a.mean()), float(b.mean()), difference, difference.p)


def _joined(shares: Shares, tasks: Sequence[str]) -> dict[str, float]:
    return {f"{task}/{problem}": p for task in tasks for problem, p in shares[task].items()}
