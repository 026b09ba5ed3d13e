"""Curves along training, over several seeds: losses (smoothed and thinned), and logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wmss_cli.core.files import read_json_lines
from wmss_cli.results.findings import Curve, LogitCurve

METRICS_FILE = "metrics.jsonl"
LOGITS_FILE = "logits.jsonl"

_KEYS = ("strong_loss", "loss", "grad_norm")
_POINTS = 120


def curve_of(name: str, files: Sequence[Path]) -> Curve | None:
    """Return the mean curve of some trainings; if lengths differ, of those as long as the first."""
    seeds = _alike(files)
    if not seeds:
        return None
    steps = [int(row["step"]) for row in seeds[0]]
    shown = np.unique(np.linspace(0, len(steps) - 1, _POINTS).round().astype(int))
    values = {
        key: np.array(
            smooth(np.mean([[row[key] for row in rows] for rows in seeds], axis=0).tolist())
        )
        for key in _KEYS
    }
    return Curve(
        name=name,
        seeds=len(seeds),
        step=[steps[i] for i in shown],
        **{key: [float(f"{x:.4g}") for x in own[shown]] for key, own in values.items()},
    )


def logit_curve_of(files: Sequence[Path]) -> LogitCurve | None:
    """Return the mean statistics of logits along some trainings, which record them now and then."""
    seeds = _alike(files)
    if not seeds:
        return None
    means = {
        name: np.mean([[row[name] for row in rows] for rows in seeds], axis=0)
        for name in seeds[0][0]
        if name != "step"
    }
    return LogitCurve(
        step=[int(row["step"]) for row in seeds[0]],
        statistics={name: [float(f"{x:.5g}") for x in own] for name, own in means.items()},
    )


def _alike(files: Sequence[Path]) -> list[list[dict[str, Any]]]:
    """Return the rows of all files with as many rows as the first one."""
    seeds = [rows for rows in map(read_json_lines, files) if rows]
    return [rows for rows in seeds if len(rows) == len(seeds[0])]


def smooth(values: Sequence[float]) -> list[float]:
    """Return the centred mean over 1/20 of the steps, which neither lags nor hides a short run."""
    half = len(values) // 40
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
