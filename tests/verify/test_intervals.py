"""Inequalities joined by "or" are unions of intervals."""

from __future__ import annotations

import pytest

from wmss_cli.verify.answer import is_equal
from wmss_cli.verify.intervals import union


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"x<-1 \text{ or } x>2", r"(-\infty,-1)\cup(2,\infty)"),
        (r"x \leq -1 \quad \text{or} \quad x \geq 2", r"(-\infty,-1]\cup[2,\infty)"),
        ("x < 0 or 1 <= x < 2", r"(-\infty,0)\cup[1,2)"),
        (r"2 > x \ge 1 \lor x > 3", r"[1,2)\cup(3,\infty)"),
    ],
)
def test_a_union(formula: str, expected: str) -> None:
    assert union(formula) == expected
    assert is_equal(formula, expected)


@pytest.mark.parametrize(
    "formula", ["x < 1", "x < 1 or y > 2", "x = 1 or x = 2", "1 < x > 2 or x > 3"]
)
def test_what_is_no_union_of_intervals(formula: str) -> None:
    assert union(formula) is None


def test_open_and_closed_ends_differ() -> None:
    assert not is_equal("x < -1 or x > 2", r"(-\infty,-1]\cup(2,\infty)")
    assert not is_equal("x < -1 or x > 2", r"(-1,2)")
