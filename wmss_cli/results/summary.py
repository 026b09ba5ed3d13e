"""The numbers of a report from graded answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wmss_cli.results.statistics import (
    bootstrap_interval,
    majority_at_k,
    pass_at_k,
    wilson_interval,
)

Row = Mapping[str, Any]


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Return accuracies by task and over all problems.

    Parameters
    ----------
    rows : sequence of mapping
        Rows with the columns of :data:`wmss_cli.core.schema.GENERATION`; all problems of a task
        have the same number of answers.

    Returns
    -------
    dict
        ``tasks`` by name, each as :func:`_summary` gives it; ``accuracy``, ``ci_low`` and
        ``ci_high`` over all problems; ``task_mean``, which weights all tasks equally.
    """
    by_task: dict[str, list[Row]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    tasks = {task: _summary(answers) for task, answers in by_task.items()}
    shares = np.concatenate([_shares(answers) for answers in by_task.values()])
    return {
        "tasks": tasks,
        **_accuracy(shares),
        "task_mean": float(np.mean([task["accuracy"] for task in tasks.values()])),
    }


def by_problem(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the answers to each problem of a task."""
    problems: dict[str, list[Row]] = {}
    for row in rows:
        problems.setdefault(row["id"], []).append(row)
    return problems


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the numbers of one task; `accuracy` is mean@n."""
    problems = by_problem(rows)
    samples = len(rows) // len(problems)
    found = {
        "n": len(problems),
        "samples": samples,
        "correct": sum(row["correct"] for row in rows),
        **_accuracy(_shares(rows)),
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        "mean_tokens": round(sum(row["tokens"] for row in rows) / len(rows), 1),
    }
    if samples > 1:
        correct = np.array([sum(row["correct"] for row in own) for own in problems.values()])
        found["pass_at_k"] = {
            str(k): float(pass_at_k(correct, samples, k).mean()) for k in _sizes(samples)
        }
        found["majority_at_k"] = {
            str(k): float(np.mean([_majority(own, k) for own in problems.values()]))
            for k in _sizes(samples)
        }
    return found


def _majority(rows: Sequence[Row], k: int) -> float:
    return majority_at_k([row["extracted"] for row in rows], [row["correct"] for row in rows], k)


def _shares(rows: Sequence[Row]) -> NDArray[np.float64]:
    """Return the share of right answers to each problem."""
    return np.array(
        [np.mean([row["correct"] for row in own]) for own in by_problem(rows).values()],
        dtype=np.float64,
    )


def _accuracy(shares: NDArray[np.float64]) -> dict[str, float]:
    """Return the mean with its 95 % interval.

    It is Wilson's if the answers to each problem agree, as a single one does, since a bootstrap
    would be certain about a model that solves nothing.
    """
    if np.isin(shares, (0.0, 1.0)).all():
        low, high = wilson_interval(int(shares.sum()), len(shares))
    else:
        low, high = bootstrap_interval(shares)
    return {"accuracy": float(shares.mean()), "ci_low": low, "ci_high": high}


def _sizes(samples: int) -> list[int]:
    """Return 1, 2, 4, … and the number of samples itself."""
    powers = [2**i for i in range(samples.bit_length()) if 2**i < samples]
    return [*powers, samples]
