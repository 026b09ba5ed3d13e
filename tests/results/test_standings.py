"""Methods by benchmarks: the best is marked only where the pairs support it."""

from __future__ import annotations

from typing import Any

from wmss_cli.results.comparison import Shares
from wmss_cli.results.standings import standings


def shares(**correct: str) -> Shares:
    return {
        task: {f"q{i}": float(digit) for i, digit in enumerate(digits)}
        for task, digits in correct.items()
    }


def metrics(found: Shares) -> dict[str, Any]:
    accuracies = {task: sum(own.values()) / len(own) for task, own in found.items()}
    return {
        "tasks": {
            task: {"accuracy": accuracy, "ci_low": accuracy - 0.1, "ci_high": accuracy + 0.1}
            for task, accuracy in accuracies.items()
        }
    }


def marked(**methods: Shares) -> dict[str, list[str]]:
    table = standings(methods, {name: metrics(found) for name, found in methods.items()})
    return {
        method: [task for task, cell in row.items() if cell.is_best]
        for method, row in table.cells.items()
    }


def test_a_clear_winner_is_marked_and_a_narrow_one_is_not() -> None:
    weak = shares(clear="0" * 20, narrow="1" * 10 + "0" * 10)
    strong = shares(clear="1" * 20, narrow="1" * 12 + "0" * 8)
    assert marked(weak=weak, strong=strong) == {"weak": [], "strong": ["clear"]}


def test_many_tasks_need_more_of_a_difference() -> None:
    weak, strong = "0" * 7 + "1" * 13, "1" * 20
    assert marked(weak=shares(one=weak), strong=shares(one=strong))["strong"] == ["one"]
    # Of equal models, one of nine tasks may well stand 7 to 0: 9 tests of 0.016 are no 0.05.
    others = {f"t{i}": "01" * 10 for i in range(8)}
    found = marked(weak=shares(one=weak, **others), strong=shares(one=strong, **others))
    assert found == {"weak": [], "strong": []}


def test_the_winner_has_to_beat_every_other_method() -> None:
    low, high = shares(sums="0" * 20), shares(sums="1" * 20)
    near = shares(sums="1" * 19 + "0")
    assert marked(low=low, near=near, high=high) == {"low": [], "near": [], "high": []}
    assert marked(low=low, same=low, high=high)["high"] == ["sums"]


def test_one_method_alone_is_not_the_best() -> None:
    assert marked(only=shares(sums="11")) == {"only": []}


def test_the_mean_is_over_all_tasks_or_there_is_none() -> None:
    both, one = shares(a="10", b="11"), shares(a="11")
    table = standings({"both": both, "one": one}, {"both": metrics(both), "one": metrics(one)})
    assert table.tasks == ("a", "b")
    assert table.means == {"both": 0.75}
    assert set(table.cells["one"]) == {"a"}
