"""What a bench found can be read back, and says whether a goal is met."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.bench.results import (
    BenchResults,
    BenchTable,
    Entry,
    Machine,
    Ratio,
    Spread,
    at_least,
    at_most,
    plot_results,
)


def results() -> BenchResults:
    entries = [
        Entry(name="wmss", seconds=Spread.of([1.0, 1.2, 1.1]), memory_bytes=2**30),
        Entry(name="authors", seconds=Spread.of([3.0, 3.1, 2.9])),
    ]
    ratio = Ratio(
        quantity="time", name="wmss / authors", value=Spread.of([0.4]), goal=at_most(0.65)
    )
    bench = BenchTable(bench="loss", title="a table", entries=tuple(entries), ratios=(ratio,))
    machine = Machine(device="CPU", threads=2, dtype="float32", versions={"torch": "2.13.0"})
    return BenchResults(size="small", rounds=3, machine=machine, parts=(bench,))


def test_results_are_read_back_as_they_were() -> None:
    again = BenchResults.model_validate_json(results().model_dump_json())
    assert again == results()
    assert again.parts[0].entries[0].memory_bytes == 2**30
    assert again.parts[0].ratios[0].value.median == 0.4


def test_a_spread_is_median_lowest_and_highest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(median=2.0, low=1.0, high=3.0)


@pytest.mark.parametrize(
    ("goal", "found", "met"),
    [
        (at_most(0.65), 0.65, True),
        (at_most(0.65), 0.66, False),
        (at_least(1.8), 1.8, True),
        (at_least(1.8), 1.7, False),
    ],
)
def test_goals(goal: object, found: float, met: bool) -> None:
    assert goal.is_met(found) is met  # type: ignore[attr-defined]


def test_the_picture_is_written(tmp_path: Path) -> None:
    plot_results(results(), tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
