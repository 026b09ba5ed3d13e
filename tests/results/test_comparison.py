"""Two evaluations of the same problems, compared in pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import GENERATION, write_parquet
from wmss_cli.results.comparison import ALL, MEAN, Shares, compare, compare_seeds, read_shares


def shares(**correct: str) -> Shares:
    """Say which of a task's problems are right: ``sums="110"``."""
    return {
        task: {f"q{i}": float(digit) for i, digit in enumerate(digits)}
        for task, digits in correct.items()
    }


def test_each_task_and_all_problems() -> None:
    first = shares(easy="1111111111", hard="0000000000")
    second = shares(easy="1111111111", hard="1111111110")
    easy, hard, everything = compare(first, second)
    assert (easy.task, hard.task, everything.task) == ("easy", "hard", ALL)
    assert (easy.p, easy.is_significant) == (1.0, False)
    assert (hard.first, hard.second) == (0.0, 0.9)
    # McNemar: nine gained, none lost; twice that by Holm for two tasks.
    assert hard.difference.p == pytest.approx(2 / 2**9)
    assert hard.p == pytest.approx(4 / 2**9)
    assert hard.is_significant
    assert everything.difference.n == 20
    assert everything.p == pytest.approx(2 / 2**9)


def test_a_small_difference_is_noise() -> None:
    (only,) = compare(shares(sums="1100110011"), shares(sums="1110110011"))
    assert only.difference.mean == pytest.approx(0.1)
    assert not only.is_significant
    assert only.difference.low <= 0.0


def test_the_order_of_the_problems_does_not_matter() -> None:
    second = {"sums": dict(reversed(shares(sums="110")["sums"].items()))}
    (only,) = compare(shares(sums="110"), second)
    assert only.difference.mean == 0.0
    assert only.p == 1.0


def test_only_what_both_have_is_compared() -> None:
    rows = compare(shares(sums="11", left="10"), shares(left="10", other="1"))
    assert [row.task for row in rows] == ["left"]
    with pytest.raises(ConfigError, match="no task in common: sums on one side, other"):
        compare(shares(sums="1"), shares(other="1"))


def test_other_problems_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match=r"task sums: 1 problems are on one side only .*q2"):
        compare(shares(sums="11"), shares(sums="110"))


def seeds_of(*seeds: Shares, name: str = "eval") -> dict[str, Shares]:
    return {f"{name}-{seed}": own for seed, own in enumerate(seeds)}


def test_seeds_of_two_arms_by_task_and_over_tasks() -> None:
    first = shares(easy="1111111100" * 3, hard="0000000001")
    second = [
        shares(easy="1111111100" * 3, hard="1111111011"),
        shares(easy="1111111010" * 3, hard="1111110111"),
        shares(easy="1111111100" * 3, hard="1111101111"),
    ]
    easy, hard, mean = compare_seeds(seeds_of(first), seeds_of(*second, name="other"))
    assert (easy.task, hard.task, mean.task) == ("easy", "hard", MEAN)
    assert (hard.first.mean, hard.first.covers_seeds) == (pytest.approx(0.1), False)
    assert (hard.second.mean, hard.second.covers_seeds) == (pytest.approx(0.9), True)
    assert (hard.difference.mean, hard.difference.seeds_won) == (pytest.approx(0.8), 3)
    assert hard.is_significant
    # Twice by Holm for two tasks; the mean is one question of its own.
    assert hard.p == pytest.approx(2 * hard.difference.p)
    assert not easy.is_significant
    # Each task counts as one, whatever its size.
    assert mean.difference.mean == pytest.approx(0.4)
    assert mean.p == mean.difference.p


def test_problems_of_seeds_are_matched_by_name() -> None:
    first = shares(sums="1100110011")
    turned = {"sums": dict(reversed(first["sums"].items()))}
    (only,) = compare_seeds(seeds_of(first, first), seeds_of(turned, turned))
    assert (only.difference.mean, only.p) == (0.0, 1.0)


def test_seeds_that_cannot_be_compared_are_named() -> None:
    own, longer = shares(sums="110"), shares(sums="1101")
    with pytest.raises(ConfigError, match=r"2 seeds on one side and 3 .*eval-1; other-0"):
        compare_seeds(seeds_of(own, own), seeds_of(own, own, own, name="other"))
    with pytest.raises(ConfigError, match=r"eval-0 and other-1, task sums: 1 problems .*q3"):
        compare_seeds(seeds_of(own, own), seeds_of(own, longer, name="other"))
    with pytest.raises(ConfigError, match="eval-0 and eval-1: only one has task left"):
        compare_seeds(seeds_of(own, {**own, **shares(left="1")}), seeds_of(own, own, name="other"))


def test_several_answers_are_shares(tmp_path: Path) -> None:
    rows = [row("a", 0, True), row("a", 1, False), row("b", 0, True), row("b", 1, True)]
    write_parquet(tmp_path / "generations.parquet", rows, GENERATION)
    (found,) = read_shares(tmp_path).values()
    assert {problem.split()[0]: share for problem, share in found.items()} == {"a": 0.5, "b": 1.0}


def test_the_same_id_with_another_answer_is_another_problem(tmp_path: Path) -> None:
    found = []
    for reference in ("1", "2"):
        folder = tmp_path / reference
        folder.mkdir()
        rows = [row("a", 0, True, reference)]
        write_parquet(folder / "generations.parquet", rows, GENERATION)
        found.append(read_shares(folder))
    with pytest.raises(ConfigError, match=r"2 problems are on one side only .first: a"):
        compare(*found)


def row(problem: str, sample: int, correct: bool, reference: str = "1") -> dict[str, object]:
    texts = {"prompt": "?", "text": "", "reference_answer": reference, "reason": ""}
    keys = {"task": "sums", "id": problem, "sample": sample, "correct": correct}
    return {
        **texts,
        **keys,
        "extracted": None,
        "found_in": None,
        "sandbox": None,
        "tokens": 1,
        "finish_reason": "stop",
    }
