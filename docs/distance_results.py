"""Sum up the study of distances: ``python docs/distance_results.py results.json PICTURE.svg``.

Prints Markdown tables of accuracies, and of differences from ``continued_sft`` and ``softening``.
Draws the former differences against how far the base model is from its own fine-tuning: H(M0) less
H(M1), in nats per token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

mpl.use("agg")

from matplotlib import pyplot as plt

REFERENCE = "continued_sft"
APART = ("base", "m1", REFERENCE)
"""Arms whose difference is none of two second phases."""
COLORS = ("#3b82d6", "#7db3ea", "#2f9e6b", "#c9508f", "#e0702f", "#8b6fd6", "#b08a1f", "#2f9fb3")

Grid = dict[str, NDArray[np.float64]]


def read(path: Path) -> tuple[list[str], Grid, NDArray[np.float64]]:
    """Return the base models, accuracies ``[bases, seeds]`` by arm in percent, and distances."""
    arms = json.loads(path.read_text(encoding="utf-8"))["arms"]
    models = list(dict.fromkeys(arm["model"] for arm in arms))
    found: dict[str, list[list[float]]] = {}
    for arm in arms:
        (score,) = arm["tasks"].values()
        found.setdefault(arm["arm"], []).append([100 * share for share in score["by_seed"]])
    of_wmss = [arm["curriculum"] for arm in arms if arm["arm"] == "wmss"]
    distance = np.array([one["entropy_weak"] - one["entropy_strong"] for one in of_wmss])
    return models, {arm: np.array(rows) for arm, rows in found.items()}, distance


def table(models: list[str], found: Grid, reference: str) -> str:
    """Return each arm's difference from another by base model, and over all of them."""
    lines = [f"| arm | {' | '.join(models)} | mean | 95 % | better |"]
    lines.append(f"| --- | {' | '.join(['---:'] * (len(models) + 3))} |")
    for arm, accuracy in found.items():
        if arm in ("base", "m1", reference):
            continue
        change = accuracy - found[reference]
        by_base = change.mean(axis=1)
        half = -stdtrit(len(models) - 1, 0.025) * by_base.std(ddof=1) / np.sqrt(len(models))
        low, high = by_base.mean() - half, by_base.mean() + half
        cells = [f"{value:+.1f}" for value in (*by_base, by_base.mean())]
        cells += [f"{low:+.1f} to {high:+.1f}", f"{(change > 0).sum()} of {change.size}"]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("-", "\N{MINUS SIGN}").replace("\N{MINUS SIGN}" * 3, "---")


def accuracies(models: list[str], found: Grid) -> str:
    """Return the accuracy of each arm by base model, the mean over seeds."""
    lines = [f"| arm | {' | '.join(models)} |", f"| --- | {' | '.join(['---:'] * len(models))} |"]
    for arm, values in found.items():
        lines.append(f"| {arm} | {' | '.join(f'{x:.1f}' for x in values.mean(axis=1))} |")
    return "\n".join(lines)


def draw(path: Path, found: Grid, distance: NDArray[np.float64]) -> None:
    """Draw differences by distance, each seed a point, and accuracies beside them."""
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "distance", "font.size": 10})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    order = np.argsort(distance)
    x = distance[order]
    for arm, color, style in (("base", "#8a8f98", "--"), ("m1", "#333333", ":")):
        left.plot(x, found[arm].mean(axis=1)[order], style, color=color, marker="o", label=arm)
    left.plot(x, found[REFERENCE].mean(axis=1)[order], "-o", color="#000000", label=REFERENCE)
    arms = [arm for arm in found if arm not in APART]
    for arm, color in zip(arms, [*COLORS, "#d04a4a"], strict=False):
        change = (found[arm] - found[REFERENCE])[order]
        right.plot(x, change.mean(axis=1), "-o", color=color, markersize=4, label=arm)
        right.plot(x, change, ".", color=color, alpha=0.4)
    right.axhline(0.0, color="#000000", linewidth=0.8)
    left.set_ylabel("accuracy, %")
    right.set_ylabel(f"points more than {REFERENCE}")
    for axis in (left, right):
        axis.set_xlabel("H(M0) less H(M1), nats per token")
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", frameon=False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    models, found, distance = read(Path(sys.argv[1]))
    print("H(M0) - H(M1):", dict(zip(models, distance.round(3).tolist(), strict=True)))
    print(f"\nAccuracy:\n\n{accuracies(models, found)}")
    for reference in (REFERENCE, "softening"):
        print(f"\nPoints more than {reference}:\n\n{table(models, found, reference)}")
    draw(Path(sys.argv[2]), found, distance)
