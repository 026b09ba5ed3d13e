"""The picture of the training curves."""

from __future__ import annotations

from pathlib import Path

from wmss_cli.results.plots import _smooth, plot_training


def test_writes_a_picture_of_all_arms(tmp_path: Path) -> None:
    rows = [{"step": i, "loss": 1 / i, "strong_loss": 2 / i, "grad_norm": 1.0} for i in range(1, 9)]
    plot_training({"sft": rows, "wmss": rows[:5]}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_smoothing_keeps_a_short_run_and_does_not_lag_in_a_long_one() -> None:
    assert _smooth([3.0, 1.0, 2.0]) == [3.0, 1.0, 2.0]
    line = [float(i) for i in range(400)]
    assert _smooth(line)[100:300] == line[100:300]
