"""Is one model better than another? Two evaluations of the same problems, compared in pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import GENERATION, read_parquet
from wmss_cli.results.statistics import Difference, holm, paired_difference

ALL = "all problems"
SIGNIFICANT = 0.05

Shares = dict[str, dict[str, float]]
"""By task and problem: the share of right answers."""


@dataclass(frozen=True)
class Comparison:
    """Two models on one task.

    Attributes
    ----------
    task : str
        Its name, or :data:`ALL`.
    first, second : float
        Accuracies (mean@n).
    difference : Difference
        Of the second to the first.
    p : float
        Of the difference; corrected by Holm's method for the number of tasks, but for
        :data:`ALL`, which is one question of its own.
    """

    task: str
    first: float
    second: float
    difference: Difference
    p: float

    @property
    def is_significant(self) -> bool:
        """Whether it is more than noise, at the level of 5 %."""
        return self.p < SIGNIFICANT


def read_shares(folder: Path) -> Shares:
    """Read the graded answers of an evaluation.

    Raises
    ------
    ConfigError
        If the folder holds none.
    """
    table = read_parquet(folder / "generations.parquet", GENERATION)
    verdicts: dict[str, dict[str, list[bool]]] = {}
    names = ("task", "id", "reference_answer", "correct")
    for task, id_, reference, correct in zip(*(table[n].to_pylist() for n in names), strict=True):
        # The same id with another answer is another problem.
        problem = f"{id_} ({hashlib.sha256(reference.encode()).hexdigest()[:8]})"
        verdicts.setdefault(task, {}).setdefault(problem, []).append(correct)
    return {
        task: {problem: float(np.mean(own)) for problem, own in problems.items()}
        for task, problems in verdicts.items()
    }


def compare(first: Shares, second: Shares) -> list[Comparison]:
    """Compare two evaluations by task, and over all problems.

    Raises
    ------
    ConfigError
        If they have no task in common, or other problems in one that they have.
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
                f"task {task}: {len(alone)} problems stand on one side only (first: "
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


def _paired(task: str, first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    a = np.array([first[problem] for problem in first])
    b = np.array([second[problem] for problem in first])
    difference = paired_difference(a, b)
    return Comparison(task, float(a.mean()), float(b.mean()), difference, difference.p)


def _joined(shares: Shares, tasks: Sequence[str]) -> dict[str, float]:
    return {f"{task}/{problem}": p for task in tasks for problem, p in shares[task].items()}
