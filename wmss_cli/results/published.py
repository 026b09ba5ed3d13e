"""The numbers that the paper reports (Table 1), next to a study's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from wmss_cli.results.findings import ArmResult, Findings, Interval
from wmss_cli.results.tables import DASH, NOTHING, Cell, Row, Table, percent

BENCHMARKS = {
    "aime2025": "mathematics",
    "math500": "mathematics",
    "amc23": "mathematics",
    "aqua": "mathematics",
    "gsm8k": "mathematics",
    "mawps": "mathematics",
    "svamp": "mathematics",
    "humaneval": "code",
    "mbpp": "code",
}
"""The columns of Table 1 with their kinds, in its order."""

TABLE_1: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "Qwen3-4B-Base": {
        "sft": (12.2, 66.1, 47.7, 61.8, 83.9, 91.3, 85.5, 68.5, 57.7),
        "undial": (12.2, 63.1, 40.0, 55.1, 82.9, 90.9, 84.1, 71.3, 54.6),
        "neftune": (16.7, 68.2, 43.3, 58.9, 86.7, 93.8, 87.7, 74.2, 55.1),
        "wmss": (20.0, 71.3, 50.0, 67.6, 88.5, 96.2, 90.3, 74.4, 59.2),
    },
    "Qwen3-8B-Base": {
        "sft": (15.6, 72.1, 45.0, 63.0, 87.5, 95.1, 88.6, 78.3, 64.0),
        "undial": (10.0, 71.5, 48.3, 66.9, 89.9, 96.4, 91.2, 79.7, 61.0),
        "neftune": (15.6, 73.7, 40.0, 71.3, 90.3, 97.3, 91.5, 80.5, 64.3),
        "wmss": (20.0, 75.4, 52.5, 77.3, 92.5, 97.8, 94.0, 83.9, 71.3),
    },
    "Qwen2.5-3B": {
        "sft": (2.2, 46.9, 21.6, 51.3, 76.6, 91.6, 84.4, 51.4, 42.7),
        "undial": (4.4, 50.7, 18.3, 49.3, 77.4, 91.3, 83.2, 50.8, 42.5),
        "neftune": (2.2, 51.3, 22.5, 47.1, 78.1, 90.3, 84.7, 51.8, 41.5),
        "wmss": (5.5, 52.0, 22.5, 53.8, 80.9, 92.6, 86.0, 53.7, 43.3),
    },
}
"""Accuracies in percent by base model, arm and benchmark: the means of three trainings, as printed
in version 1 of the paper. Its later versions were not seen.

References
----------
Z. Chen et al., "Weak-Driven Learning: How Weak Agents make Strong Agents Stronger",
arXiv:2602.08222v1 (2026), Table 1.
"""

PRINTED_MEANS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "Qwen3-4B-Base": {
        "sft": (64.1, 63.1),
        "undial": (61.2, 63.0),
        "neftune": (65.0, 64.7),
        "wmss": (69.1, 66.8),
    },
    "Qwen3-8B-Base": {
        "sft": (66.7, 71.2),
        "undial": (67.7, 70.4),
        "neftune": (68.5, 72.4),
        "wmss": (72.9, 77.6),
    },
    "Qwen2.5-3B": {
        "sft": (53.5, 47.1),
        "undial": (53.5, 46.7),
        "neftune": (53.7, 46.7),
        "wmss": (56.2, 48.5),
    },
}
"""The averages over mathematics and over code that Table 1 gives."""


def paper(found: Findings) -> Table:
    """Return the study's accuracies next to the paper's, for the base models of the paper."""
    columns = list(_columns(found))
    rows = [
        Row(arm.arm, [cell(model, arm) for _, cell in columns], arm.model)
        for arm in found.arms
        if (model := _model_of(found, arm.model)) and arm.arm in TABLE_1[model]
    ]
    return Table(
        "paper",
        "The paper's numbers, each with this study's own below, in percent",
        "arm",
        [title for title, _ in columns],
        rows,
        "The paper's are means of three trainings, from Table 1 of arXiv:2602.08222v1, which gives "
        "no intervals. Ranges: 95 % intervals of this study's own.",
    )


def _model_of(found: Findings, name: str) -> str | None:
    own = Path(found.study.models.get(name, "")).name
    return own if own in TABLE_1 else None


def _columns(found: Findings) -> Iterator[tuple[str, Callable[[str, ArmResult], Cell]]]:
    """Yield titles and cells: the benchmarks of both, and the paper's averages."""
    titles = {task.name: task.title for task in found.tasks}
    names = list(BENCHMARKS)
    for place, kind in enumerate(("mathematics", "code")):
        printed = [name for name in names if BENCHMARKS[name] == kind]
        for name in printed:
            if name in titles:
                yield titles[name], _of_task(name, names.index(name))
        if set(printed) == {task.name for task in found.tasks if task.kind == kind}:
            yield f"{kind}, mean", _of_kind(kind, place)


def _of_task(name: str, place: int) -> Callable[[str, ArmResult], Cell]:
    def cell(model: str, arm: ArmResult) -> Cell:
        score = arm.tasks.get(name)
        return _beside(TABLE_1[model][arm.arm][place], None if score is None else score.accuracy)

    return cell


def _of_kind(kind: str, place: int) -> Callable[[str, ArmResult], Cell]:
    def cell(model: str, arm: ArmResult) -> Cell:
        # A study of one kind has no means by kind: its mean over all tasks is the same thing.
        own = arm.kinds.get(kind) if arm.kinds else arm.mean
        return _beside(PRINTED_MEANS[model][arm.arm][place], own)

    return cell


def _beside(printed: float, own: Interval | None) -> Cell:
    if own is None:
        return Cell(f"{printed:.1f}", NOTHING.text)
    interval = f"{percent(own.low)}{DASH}{percent(own.high)}"
    return Cell(f"{printed:.1f}", f"here {percent(own.mean)}, {interval}")
