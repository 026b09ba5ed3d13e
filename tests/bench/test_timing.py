"""Rivals run in turns, and must do the same work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wmss_cli.bench import timing
from wmss_cli.bench.timing import MatrixProduct, Rival, Timed, alternate, compare
from wmss_cli.core.errors import IntegrityError


def test_rivals_take_turns_and_the_warm_up_does_not_count() -> None:
    order: list[str] = []
    rivals = {
        name: Rival(lambda name=name: order.append(name), lambda: order.append("undo"))
        for name in ("one", "two")
    }
    timed = alternate(rivals, rounds=2)
    assert order == ["undo", "one", "undo", "two"] * 3
    assert {name: len(seconds) for name, seconds in timed.seconds.items()} == {"one": 2, "two": 2}
    assert timed.rates == []


def test_a_shorter_warm_up_replaces_the_work() -> None:
    order: list[str] = []
    rival = Rival(lambda: order.append("work"), warm_up=lambda: order.append("warm up"))
    timed = alternate({"one": rival}, rounds=2)
    assert order == ["warm up", "work", "work"]
    assert len(timed.values["one"]) == 2


def test_each_round_gives_one_ratio_so_that_drift_cancels() -> None:
    # The machine is half as fast in the second round.
    timed = Timed({"fast": [1.0, 2.0], "slow": [3.0, 6.0]}, rates=[100.0, 50.0])
    ratio = timed.ratio("fast", "slow")
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    limit = timed.limit("fast", flops=80.0)
    assert (limit.low, limit.high) == pytest.approx((0.8, 0.8))
    assert timed.per_second("fast", 10).high == 10.0


def test_the_rate_is_that_of_a_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PRODUCT_S", 0.01)
    product = MatrixProduct(torch.float32)
    assert product.shape.endswith(", float32")
    assert product.measure() > 0.0


def values(*numbers: float) -> dict[str, np.ndarray]:
    return {"loss": np.array(numbers)}


def test_values_that_agree_give_the_largest_difference() -> None:
    timed = Timed(values={"ours": [values(1.0, 2.0)], "theirs": [values(1.0, 2.0 + 1e-7)]})
    found = compare(timed, "loss", allowed=1e-6, reference="theirs")
    assert found.difference == pytest.approx(1e-7, rel=1e-3)


@pytest.mark.parametrize("wrong", [2.1, float("nan")])
def test_rivals_that_do_something_else_are_not_compared(wrong: float) -> None:
    timed = Timed(values={"ours": [values(1.0, wrong)], "theirs": [values(1.0, 2.0)]})
    with pytest.raises(IntegrityError, match="they do not do the same work"):
        compare(timed, "loss", allowed=1e-6, reference="theirs")


def test_a_small_product_keeps_the_data_type_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_PRODUCT_S", 0.001)
    assert "bfloat16" in MatrixProduct(torch.bfloat16).shape
