"""The worker pool: order, time limits, crashes, and that it continues after them."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

import pytest

from wmss_cli.answers.graders import check_math
from wmss_cli.answers.pool import Check, run_checks
from wmss_cli.core.verdict import Verdict


def obey(text: str, gold: str) -> Verdict:
    """Do what the text says: a check that misbehaves on demand."""
    if text == "hang":
        while True:
            pass
    if text == "die":
        os._exit(1)
    if text == "eat memory":
        bytearray(2**40)
    return Verdict("correct" if text == gold else "wrong_answer", text)


def math(text: str, gold: str) -> Check:
    return Check(check_math, text, gold)


def test_verdicts_come_in_the_order_of_the_items() -> None:
    items = [(f"key {i}", math(rf"\boxed{{{i}}}", str(i % 50))) for i in range(100)]
    results = list(run_checks(items, workers=2, timeout_s=20.0))
    assert [key for key, _ in results] == [key for key, _ in items]
    assert [verdict.correct for _, verdict in results] == [i < 50 for i in range(100)]


def test_a_power_tower_is_ended_at_its_limit() -> None:
    items = [(0, math(r"\boxed{9^{9^{9^{9}}}}", "3")), (1, math(r"\boxed{3}", "3"))]
    started = time.monotonic()
    results = dict(run_checks(items, workers=1, timeout_s=1.0))
    # Once with its neighbour and once alone, and the time to start a worker.
    assert time.monotonic() - started < 20.0
    assert results[0] == Verdict("timeout")
    assert results[1].correct


@pytest.mark.parametrize(
    ("order", "reason"), [("hang", "timeout"), ("die", "crash"), ("eat memory", "crash")]
)
def test_only_the_check_that_fails_is_lost(order: str, reason: str) -> None:
    texts = ["a"] * 20 + [order] + ["a"] * 20
    items = [(i, Check(obey, text, "a")) for i, text in enumerate(texts)]
    results = list(run_checks(items, workers=2, timeout_s=1.0))
    assert [key for key, _ in results] == list(range(41))
    failed = {key: verdict for key, verdict in results if not (verdict and verdict.correct)}
    assert failed == {20: Verdict(reason)}


def test_items_without_a_check_keep_their_place() -> None:
    items = [(i, Check(obey, "a", "a") if i % 7 == 0 else None) for i in range(50)]
    results = list(run_checks(items, workers=2, timeout_s=20.0))
    assert [key for key, _ in results] == list(range(50))
    assert [verdict is not None for _, verdict in results] == [i % 7 == 0 for i in range(50)]


def test_no_items_no_verdicts() -> None:
    assert list(run_checks([], workers=2, timeout_s=1.0)) == []


def test_reads_only_a_bounded_number_of_items_ahead() -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, Check | None]]:
        nonlocal taken
        for taken in itertools.count(1):
            yield taken, None

    results = run_checks(endless(), workers=2, timeout_s=1.0)
    assert next(results) == (1, None)
    results.close()
    assert taken < 200
