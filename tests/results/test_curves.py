"""Training curves: smoothed, thinned, and the mean over seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.files import append_json_line
from wmss_cli.results.curves import curve_of, logit_curve_of, smooth


def write(path: Path, steps: int, loss: float) -> Path:
    for step in range(1, steps + 1):
        row = {"step": step, "loss": loss, "strong_loss": loss, "grad_norm": 1.0}
        append_json_line(path, row)
    return path


def test_smoothing_keeps_a_short_run_and_does_not_lag_in_a_long_one() -> None:
    assert smooth([3.0, 1.0, 2.0]) == [3.0, 1.0, 2.0]
    line = [float(i) for i in range(400)]
    assert smooth(line)[100:300] == line[100:300]


def test_a_long_run_is_thinned_from_its_first_step_to_its_last(tmp_path: Path) -> None:
    curve = curve_of("sft", [write(tmp_path / "a", 1000, 2.0)])
    assert curve is not None
    assert (curve.step[0], curve.step[-1], len(curve.step)) == (1, 1000, 120)
    assert len(curve.loss) == 120


def test_a_curve_is_the_mean_over_seeds_of_one_length(tmp_path: Path) -> None:
    files = [write(tmp_path / name, 10, loss) for name, loss in (("a", 1.0), ("b", 2.0))]
    curve = curve_of("sft", [*files, write(tmp_path / "short", 5, 9.0)])
    assert curve is not None
    assert curve.seeds == 2
    assert curve.loss == pytest.approx([1.5] * 10)
    assert curve_of("sft", []) is None


def test_logits_along_training_are_means_over_seeds(tmp_path: Path) -> None:
    for name, gap in (("a", 1.0), ("b", 3.0)):
        for step in (0, 10):
            append_json_line(tmp_path / name, {"step": step, "gap": gap * step, "std": 1.0})
    curve = logit_curve_of([tmp_path / "a", tmp_path / "b"])
    assert curve is not None
    assert curve.step == [0, 10]
    assert curve.statistics == {"gap": [0.0, 20.0], "std": [1.0, 1.0]}
    assert logit_curve_of([]) is None
