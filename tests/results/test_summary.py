"""Graded answers as the numbers of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wmss_cli.results.statistics import bootstrap_interval, wilson_interval
from wmss_cli.results.summary import summarize


def answers(task: str, *verdicts: str) -> list[dict[str, Any]]:
    """Say which answers to each problem are right: ``"10"`` are a right and a wrong one."""
    return [
        {
            "task": task,
            "id": f"q{i}",
            "correct": verdict == "1",
            "extracted": "right" if verdict == "1" else None,
            "finish_reason": "stop",
            "tokens": 10,
        }
        for i, own in enumerate(verdicts)
        for verdict in own
    ]


def test_one_answer_to_each_problem() -> None:
    found = summarize(answers("sums", "1", "0", "1") + answers("left", "0"))
    assert found["accuracy"] == 0.5
    assert (found["ci_low"], found["ci_high"]) == wilson_interval(2, 4)
    assert found["task_mean"] == pytest.approx((2 / 3 + 0) / 2)
    sums = found["tasks"]["sums"]
    assert (sums["n"], sums["samples"], sums["correct"]) == (3, 1, 2)
    assert (sums["ci_low"], sums["ci_high"]) == wilson_interval(2, 3)
    assert "pass_at_k" not in sums


def test_several_answers_to_each_problem() -> None:
    sums = summarize(answers("sums", "110", "000", "100"))["tasks"]["sums"]
    assert sums["accuracy"] == pytest.approx(3 / 9)
    assert sums["pass_at_k"] == pytest.approx({"1": 3 / 9, "2": (1 + 0 + 2 / 3) / 3, "3": 2 / 3})
    # A wrong answer has no text here, so that it has no vote.
    assert sums["majority_at_k"] == pytest.approx(
        {"1": 3 / 9, "2": (1 + 0 + 2 / 3) / 3, "3": 2 / 3}
    )
    expected = bootstrap_interval(np.array([2 / 3, 0.0, 1 / 3]))
    assert (sums["ci_low"], sums["ci_high"]) == expected


def test_a_model_that_solves_nothing_is_not_known_to_solve_nothing() -> None:
    found = summarize(answers("sums", "00", "00", "00"))
    assert (found["ci_low"], found["ci_high"]) == wilson_interval(0, 3)


def test_what_was_cut_off_is_counted() -> None:
    rows = answers("sums", "1", "0")
    rows[1] |= {"finish_reason": "length", "tokens": 20}
    sums = summarize(rows)["tasks"]["sums"]
    assert (sums["truncated"], sums["mean_tokens"]) == (1, 15.0)
