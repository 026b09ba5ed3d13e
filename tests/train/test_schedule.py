"""Warm-up, peak and end of the learning rate."""

from __future__ import annotations

import pytest

from wmss_cli.train.schedule import learning_rate


def rates(steps: int, warmup: float, end: float = 0.0) -> list[float]:
    return [learning_rate(step, steps, 1.0, warmup, end) for step in range(steps)]


def test_rises_linearly_then_falls_as_a_cosine() -> None:
    curve = rates(steps=10, warmup=0.4)
    assert curve[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert curve[4] == pytest.approx(1.0)
    assert curve[7] == pytest.approx(0.5)
    assert curve == [*curve[:4], *sorted(curve[4:], reverse=True)]
    assert curve[-1] > 0, "the last step must still learn"


def test_ends_at_the_given_share() -> None:
    assert rates(steps=1000, warmup=0.0, end=0.1)[-1] == pytest.approx(0.1, abs=1e-4)


def test_a_constant_rate() -> None:
    assert rates(steps=5, warmup=0.0, end=1.0) == [1.0] * 5


def test_the_first_of_many_steps_is_not_zero() -> None:
    assert learning_rate(0, 1, 1.0, 0.03, 0.0) == 1.0
