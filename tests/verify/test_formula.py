"""A formula is read whole or not at all."""

from __future__ import annotations

import re

import pytest

from wmss_cli.verify.answer import check_math
from wmss_cli.verify.formula import readings

UNREADABLE = [
    *(r"1, 3, 5, \ldots", r"1 + \cdots + 5", r"\{1, 2, \dots, 5\}", r"1 \ldots 9", "1, 2, 3, ..."),
    *(
        "5 3",
        r"5 \, 3",
        r"5 \quad 3",
        "5 ? 3",
        "f(5) = ?",
        "5 + ",
        r"5 \cdot",
        "5^",
        "5 <",
        "5 & 6",
    ),
    *(r"5 \to 6", r"5 \mid 6", r"\frac{1}{2", "10^{-3", "(5", "5)", r"\left(5", "5 because 3"),
    *(
        r"\text{not } 5",
        r"\text{at least } 5",
        r"5 \text{ to } 6",
        r"\text{between } 3 \text{ and } 5",
    ),
    *("5 heads 3 tails", "2..3", "5 # 3", r"5 \text{ out of } 6", r"5 \heartsuit 3"),
]


@pytest.mark.parametrize("formula", UNREADABLE)
def test_a_formula_that_cannot_be_read_yields_no_part_of_itself(formula: str) -> None:
    for part in set(re.findall(r"\d", formula)):
        assert not check_math(rf"\boxed{{{formula}}}", part).correct


@pytest.mark.parametrize(
    ("formula", "read"),
    [
        (r"\frac{2 \pm \sqrt{76}}{2}", "{1 - sqrt(19), 1 + sqrt(19)}"),
        (r"6-5\mathrm{i}", "6 - 5*I"),
        (r"\log_2 8", "3"),
        (r"\sin 30^\circ", "1/2"),
        (r"\frac 1 2", "1/2"),
    ],
)
def test_readings(formula: str, read: str) -> None:
    (value,) = next(readings(formula))
    assert str(value.doit().simplify()) == read or str(value.doit()) == read
