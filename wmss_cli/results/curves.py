"""Training curves: ``metrics.jsonl`` of several seeds, smoothed and thinned for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wmss_cli.core.files import read_json_lines
from wmss_cli.results.findings import Curve

METRICS_FILE = "metrics.jsonl"

_KEYS = ("strong_loss", "loss", "grad_norm")
_POINTS = 120


def curve_of(name: str, files: Sequence[Path]) -> Curve | None:
    """Return the mean curve of some trainings; of those as long as the first where they differ."""
    seeds = [rows for rows in map(read_json_lines, files) if rows]
    seeds = [rows for rows in seeds if len(rows) == len(seeds[0])]
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


def smooth(values: Sequence[float]) -> list[float]:
    """Centred mean over a twentieth of the steps, so that it neither lags nor hides a short run."""
    half = len(values) // 40
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
