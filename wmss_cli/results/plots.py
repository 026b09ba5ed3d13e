"""The picture of the training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt

_PANELS = (
    ("strong_loss", "loss of the model alone (nats/token)"),
    ("loss", "loss that is minimised (nats/token)"),
    ("grad_norm", "gradient norm before clipping"),
)


def plot_training(curves: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw loss and gradient norm by step, a line an arm, and save a PNG.

    Parameters
    ----------
    curves : mapping
        Rows of ``metrics.jsonl`` by the arm's name.
    path : Path
        Of the picture.
    """
    figure, axes = plt.subplots(1, len(_PANELS), figsize=(13, 4), layout="constrained")
    for axis, (key, title) in zip(axes, _PANELS, strict=True):
        for i, (name, rows) in enumerate(curves.items()):
            steps = [row["step"] for row in rows]
            values = [row[key] for row in rows]
            axis.plot(steps, values, color=f"C{i}", alpha=0.25, linewidth=0.8)
            axis.plot(steps, _smooth(values), color=f"C{i}", linewidth=1.8, label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("optimizer step")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _smooth(values: Sequence[float]) -> list[float]:
    """Centred mean over a twentieth of the steps, so that it neither lags nor hides a short run."""
    half = len(values) // 40
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return [sum(window) / len(window) for window in windows]
