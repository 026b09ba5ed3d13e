"""References in the forms in which people write them; all 500 with the script of the docs."""

from __future__ import annotations

import random
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "grading_forms.py"


@pytest.fixture(scope="module")
def forms() -> dict[str, Any]:
    """The functions of the script whose table is in docs/grading.md."""
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize(
    "gold", ["12", r"\frac{3}{4}", "x=5", r"(1, -\sqrt{2})", r"1 \pm \sqrt{19}"]
)
def test_a_changed_reference_differs_in_one_place(forms: dict[str, Any], gold: str) -> None:
    for seed in range(20):
        other = forms["changed"](gold, random.Random(seed))
        assert other != gold
        assert len(gold) - len(other) in (0, 1)


@pytest.mark.slow
def test_every_form_is_right_and_a_changed_digit_or_sign_is_not(
    forms: dict[str, Any], shared_data: Path
) -> None:
    golds = random.Random(7).sample(forms["read_golds"](shared_data / "math500.jsonl"), 60)
    wrong: Counter[tuple[str, bool]] = Counter()
    total = 0
    for one, verdict in forms["graded"](golds):
        total += 1
        wrong[one.form, one.right] += verdict.correct != one.right
    assert total > 1200
    assert +wrong == Counter()
