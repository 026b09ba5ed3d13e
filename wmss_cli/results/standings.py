"""Methods by benchmarks, as in Table 1; the best is marked where paired tests support it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmss_cli.results.comparison import SIGNIFICANT, Comparison, Shares, compare
from wmss_cli.results.statistics import holm


@dataclass(frozen=True)
class Cell:
    """The accuracy of one method on one task.

    Attributes
    ----------
    accuracy, low, high : float
        With the 95 % interval.
    is_best : bool
        Whether it is better than that of every other method by more than noise: each paired
        test below 0.05, corrected by Holm's method for all such tests on the page.
    """

    accuracy: float
    low: float
    high: float
    is_best: bool


@dataclass(frozen=True)
class Standings:
    """All methods on all tasks.

    Attributes
    ----------
    tasks : tuple of str
        In the order of the first method, then of the others.
    cells : dict
        By method and task; tasks that a method was not evaluated on are missing.
    means : dict of str to float
        By method: the mean over the tasks; only for methods that have all of them.
    """

    tasks: tuple[str, ...]
    cells: dict[str, dict[str, Cell]]
    means: dict[str, float]


def standings(shares: Mapping[str, Shares], metrics: Mapping[str, Mapping[str, Any]]) -> Standings:
    """Compare methods on the tasks that they have in common.

    Parameters
    ----------
    shares : mapping
        Of :func:`wmss_cli.results.comparison.read_shares`, by method.
    metrics : mapping
        Of :func:`wmss_cli.results.summary.summarize`, by method.

    Raises
    ------
    ConfigError
        If two methods have other problems in one task.
    """
    tasks = tuple(dict.fromkeys(task for found in metrics.values() for task in found["tasks"]))
    best = _best(tasks, shares)
    cells = {
        method: cells_of(found, {task for task, first in best.items() if first == method})
        for method, found in metrics.items()
    }
    means = {
        method: float(np.mean([cell.accuracy for cell in row.values()]))
        for method, row in cells.items()
        if len(row) == len(tasks)
    }
    return Standings(tasks, cells, means)


def cells_of(metrics: Mapping[str, Any], best: Collection[str] = frozenset()) -> dict[str, Cell]:
    """Return the accuracies of one method by task, of which it is the best on some."""
    return {
        task: Cell(score["accuracy"], score["ci_low"], score["ci_high"], task in best)
        for task, score in metrics["tasks"].items()
    }


def _best(tasks: Sequence[str], shares: Mapping[str, Shares]) -> dict[str, str]:
    """Return by task the method that is better than all others by more than noise."""
    leaders: list[tuple[str, str, Comparison]] = []
    for task in tasks:
        there = {method: found[task] for method, found in shares.items() if task in found}
        first = max(there, key=lambda method: float(np.mean(list(there[method].values()))))
        leaders += [
            (task, first, compare({task: other}, {task: there[first]})[0])
            for method, other in there.items()
            if method != first
        ]
    corrected = holm([row.difference.p for _, _, row in leaders])
    ahead = {task: first for task, first, _ in leaders}
    for (task, _, row), p in zip(leaders, corrected, strict=True):
        if row.difference.mean <= 0 or p >= SIGNIFICANT:
            ahead.pop(task, None)
    return ahead
