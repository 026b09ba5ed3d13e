"""The plots of a report, as SVG that takes its text colour and font from the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from wmss_cli.results.findings import ArmResult, Cloud, Curve, Findings
from wmss_cli.results.result_tables import sweep
from wmss_cli.results.svg import COLORS, FAINT, INK, WIDE, WIDTH, figure_svg
from wmss_cli.results.tables import SIGNIFICANT, points, quantity

_CURVES = (
    ("strong_loss", "loss of the model alone"),
    ("loss", "loss that is minimised"),
    ("grad_norm", "gradient norm before clipping"),
)
_OVERLAID = 6
"""Most curves in one panel; if there are more, each gets a panel of its own."""

_STATISTICS = ("z_target", "z_background", "gap", "std", "centred_norm", "entropy", "p_max")


def pictures(found: Findings) -> dict[str, str]:
    """Return the SVG of each plot that has something to show, by name."""
    drawn = {
        "forest": _forest(found),
        "cost": _cost(found),
        "lambda": _lambda(found) if "lambda" in found.study.tables else None,
        "epochs": _epochs(found) if "epochs" in found.study.tables else None,
        "training": _training(found),
        "clouds": _clouds(found.clouds),
        "difficulty": _difficulty(found),
        "logits": _logits(found),
        "logit_curves": _logit_curves(found),
    }
    return {name: svg for name, svg in drawn.items() if svg is not None}


def _forest(found: Findings) -> str | None:
    """Draw the difference of each arm from the reference, with its interval."""
    arms = [arm for arm in found.arms if arm.gap is not None]
    if not arms:
        return None
    with figure_svg("forest", 1.0 + 0.3 * len(arms)) as (figure, done):
        axis = figure.add_subplot()
        for place, arm in enumerate(arms):
            gap = arm.gap
            assert gap is not None
            real = gap.corrected < SIGNIFICANT
            color = FAINT if not real else COLORS[2] if gap.mean > 0 else COLORS[1]
            axis.plot([100 * gap.low, 100 * gap.high], [place, place], color=color, linewidth=2)
            axis.plot(100 * gap.mean, place, "o", color=color, markersize=6)
            axis.annotate(
                points(gap.mean),
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontweight="bold" if real else "normal",
            )
        axis.axvline(0.0, color=INK, linewidth=0.8)
        axis.set_yticks(range(len(arms)), [arm.key for arm in arms])
        axis.set_ylim(len(arms) - 0.5, -0.5)
        axis.set_xlabel(f"points more than {found.reference}, mean over benchmarks")
        axis.grid(axis="x")
    return done[0]


def _cost(found: Findings) -> str | None:
    """Draw accuracy against the cost of training; arms without training are lines."""
    there = [arm for arm in found.arms if arm.mean is not None]
    paid = [arm for arm in there if arm.cost is not None]
    if not paid:
        return None
    counted = all(arm.cost and arm.cost.flops is not None for arm in paid)
    height = max(3.6, 0.24 * len(paid) + 1.0)
    with figure_svg("cost", height) as (figure, done):
        axis = figure.add_subplot()
        spots: list[tuple[float, float, str, str]] = []
        for place, arm in enumerate(paid):
            assert arm.cost is not None
            assert arm.mean is not None
            x = (arm.cost.flops or 0.0) if counted else arm.cost.device_hours
            low, mean, high = (100 * v for v in (arm.mean.low, arm.mean.mean, arm.mean.high))
            color = COLORS[place % len(COLORS)]
            axis.plot([x, x], [low, high], color=color, alpha=0.35)
            axis.plot([x], [mean], "o", color=color)
            spots.append((x, mean, arm.key, color))
        for arm in there:
            if arm.cost is None and arm.mean is not None:
                axis.axhline(100 * arm.mean.mean, color=FAINT, linestyle="--", linewidth=1)
                axis.annotate(
                    arm.key, (0.01, 100 * arm.mean.mean), xycoords=("axes fraction", "data")
                )
        values = [x for x, *_ in spots if x]
        if values and max(values) > 20 * min(values):
            axis.set_xscale("log")
        elif values:
            axis.set_xlim(0, 1.08 * max(values))
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: quantity(x)))
        _label_beside(axis, spots)
        axis.set_xlabel("training FLOPs of one seed" if counted else "process-hours of one seed")
        axis.set_ylabel("accuracy, %")
        axis.grid()
    return done[0]


def _label_beside(axis: Axes, spots: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names to the right of the axes, as far apart as they need, with lines to them."""
    low, high = axis.get_ylim()
    step = (high - low) / max(len(spots) + 1, 14)
    ordered = sorted(spots, key=lambda spot: spot[1])
    heights = _apart([y for _, y, _, _ in ordered], step, low, high)
    for (x, y, name, color), height in zip(ordered, heights, strict=True):
        axis.annotate(
            name,
            (x, y),
            xytext=(1.02, height),
            textcoords=("axes fraction", "data"),
            color=color,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "alpha": 0.3,
                "linewidth": 0.7,
                "relpos": (0.0, 0.5),
            },
            annotation_clip=False,
        )


def _apart(wanted: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move increasing heights apart to at least `step`, each as little as possible."""
    # Minus i * step they need only not fall: neighbours that would merge share their mean.
    blocks: list[list[float]] = []
    for i, height in enumerate(wanted):
        blocks.append([height - i * step])
        while len(blocks) > 1 and float(np.mean(blocks[-2])) > float(np.mean(blocks[-1])):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    flat = [float(np.mean(block)) for block in blocks for _ in block]
    heights = [base + i * step for i, base in enumerate(flat)]
    top = high - (len(wanted) - 1) * step
    return [min(max(h, low + i * step), top + i * step) for i, h in enumerate(heights)]


def _lambda(found: Findings) -> str | None:
    """Draw accuracy by lambda with its interval as a band."""
    arms = [arm for arm in sweep(found, ("joint.mix_lambda",)) if arm.mean and arm.mix_lambda]
    if len(arms) < 2:
        return None
    with figure_svg("lambda", 3.4) as (figure, done):
        axis = figure.add_subplot()
        for i, model in enumerate(found.models):
            own = sorted(
                (arm for arm in arms if arm.model == model), key=lambda arm: arm.mix_lambda or 0.0
            )
            _band(axis, [arm.mix_lambda or 0.0 for arm in own], own, model or "mixed", COLORS[i])
            for arm in found.of_model(model):
                if arm.arm == found.reference and arm.mean is not None and own:
                    axis.axhline(100 * arm.mean.mean, color=COLORS[i], linestyle="--", linewidth=1)
                    axis.annotate(
                        arm.key,
                        (1.01, 100 * arm.mean.mean),
                        xycoords=("axes fraction", "data"),
                        va="center",
                    )
        axis.set_xlabel("\N{GREEK SMALL LETTER LAMDA}")
        axis.set_ylabel("accuracy, mean, %")
        axis.grid()
        if len(found.models) > 1:
            axis.legend(frameon=False)
    return done[0]


def _band(axis: Axes, x: Sequence[float], arms: Sequence[ArmResult], name: str, color: str) -> None:
    found = [arm.mean for arm in arms if arm.mean is not None]
    axis.fill_between(
        x,
        [100 * one.low for one in found],
        [100 * one.high for one in found],
        color=color,
        alpha=0.2,
        linewidth=0,
    )
    axis.plot(x, [100 * one.mean for one in found], "o-", color=color, label=name)


def _epochs(found: Findings) -> str | None:
    """Draw accuracy by epoch, a panel for each task (Fig. 3)."""
    arms = [arm for arm in found.arms if arm.epochs and arm.tasks]
    if not arms:
        return None
    tasks = [task for task in found.tasks if any(task.name in arm.tasks for arm in arms)]
    rows = -(-len(tasks) // 3)
    with figure_svg("epochs", 2.4 * rows + 0.4, width=WIDE) as (figure, done):
        axes = figure.subplots(rows, min(3, len(tasks)), squeeze=False).flat
        for axis, task in zip(axes, tasks, strict=False):
            for i, arm in enumerate(arms):
                own = {name: epoch[task.name] for name, epoch in arm.epochs.items()}
                own |= {"end": arm.tasks[task.name].accuracy}
                y = [100 * one.mean for one in own.values()]
                below = [100 * (one.mean - one.low) for one in own.values()]
                above = [100 * (one.high - one.mean) for one in own.values()]
                axis.errorbar(
                    list(own),
                    y,
                    yerr=[below, above],
                    marker="o",
                    capsize=3,
                    color=COLORS[i % len(COLORS)],
                    label=arm.key,
                )
            axis.set_title(task.title)
            axis.grid()
        for axis in list(axes)[len(tasks) :]:
            axis.remove()
        figure.axes[0].set_ylabel("accuracy, %")
        _legend_below(figure)
    return done[0]


def _training(found: Findings) -> str | None:
    """Draw training curves: in one row if they are few, else in a panel for each arm."""
    curves = [(arm.key, arm.curve) for arm in found.arms if arm.curve is not None]
    curves = [(curve.name, curve) for curve in found.first_phases] + curves
    if not curves:
        return None
    if len(curves) > _OVERLAID:
        return _panels([(name, curve) for name, curve in curves], found.reference)
    with figure_svg("training", 3.4, width=WIDE) as (figure, done):
        for axis, (key, title) in zip(figure.subplots(1, len(_CURVES)), _CURVES, strict=True):
            for i, (name, curve) in enumerate(curves):
                axis.plot(curve.step, getattr(curve, key), color=COLORS[i], label=name)
            axis.set_title(title)
            axis.set_xlabel("step")
            axis.grid()
        figure.axes[0].set_ylabel("nats per token")
        _legend_below(figure)
    return done[0]


def _panels(curves: Sequence[tuple[str, Curve]], reference: str | None) -> str:
    """Draw the loss of the model alone, a panel for each arm, the reference in the background."""
    rows = -(-len(curves) // 4)
    behind = next((curve for name, curve in curves if name == reference), None)
    with figure_svg("training", 1.5 * rows + 0.3, width=WIDE) as (figure, done):
        axes = figure.subplots(rows, 4, squeeze=False, sharey=True)
        for axis, (name, curve) in zip(axes.flat, curves, strict=False):
            if behind is not None and curve is not behind:
                axis.plot(behind.step, behind.strong_loss, color=FAINT, linewidth=1)
            axis.plot(curve.step, curve.strong_loss, color=COLORS[0], linewidth=1.5)
            axis.set_title(name)
            axis.grid()
        for axis in list(axes.flat)[len(curves) :]:
            axis.remove()
        figure.supylabel("loss of the model alone, nats per token", fontsize=10)
    return done[0]


def _clouds(clouds: Sequence[Cloud]) -> str | None:
    """Draw H(weak) against H(strong), coloured by how often a sample is drawn."""
    if not clouds:
        return None
    rows = -(-len(clouds) // 2)
    width = WIDTH if len(clouds) == 1 else 1.6 * WIDTH
    with figure_svg("clouds", 3.6 * rows, width=width) as (figure, done):
        for place, cloud in enumerate(clouds):
            axis = figure.add_subplot(rows, min(2, len(clouds)), place + 1)
            order = np.argsort(cloud.weight)
            weight = np.maximum(np.array(cloud.weight)[order], 1e-2)
            drawn = axis.scatter(
                np.array(cloud.weak)[order],
                np.array(cloud.strong)[order],
                c=weight,
                s=9,
                cmap="plasma",
                norm=LogNorm(*_span(weight)),
                linewidths=0,
                rasterized=True,
            )
            ends = [0.0, max(*cloud.weak, *cloud.strong)]
            axis.plot(ends, ends, color=FAINT, linestyle="--", linewidth=1)
            axis.set_xlabel("H(weak), nats per token")
            axis.set_ylabel("H(strong), nats per token")
            if cloud.model:
                axis.set_title(cloud.model)
            axis.grid()
            plain = FuncFormatter(lambda x, _: f"{x:g}")
            bar = figure.colorbar(drawn, ax=axis, label="weight (1: even draw)", format=plain)
            bar.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            bar.ax.yaxis.set_minor_locator(NullLocator())
    return done[0]


def _difficulty(found: Findings) -> str | None:
    """Draw the loss by the samples' initial entropy, and by whether their entropy fell or rose."""
    arms = [arm for arm in found.arms if arm.by_difficulty]
    if not arms:
        return None
    height = 2.8 + 0.25 * -(-len(arms) // 4)
    with figure_svg("difficulty", height, width=WIDE) as (figure, done):
        sides = figure.subplots(1, 2, width_ratios=(3, 2))
        for place, arm in enumerate(arms):
            for axis, bins in zip(sides, (arm.by_difficulty, arm.by_change), strict=True):
                names = [one.name for one in bins]
                losses = [one.loss for one in bins]
                axis.plot(names, losses, _dashes(place), marker="o", markersize=4, label=arm.key)
                axis.lines[-1].set_color(COLORS[place % len(COLORS)])
        sides[0].set_xlabel("fifth of the samples by H(weak)")
        sides[0].set_ylabel("loss, nats per token")
        for axis in sides:
            axis.grid()
        _legend_below(figure)
    return done[0]


def _dashes(place: int) -> str:
    """Return the style of a line: a different one once the colours repeat."""
    return ("-", "--", ":")[place // len(COLORS) % 3]


def _span(weight: np.ndarray) -> tuple[float, float]:
    low, high = float(weight.min()), float(weight.max())
    return (low, high) if high > low else (0.5 * low, 2.0 * high)


def _logits(found: Findings) -> str | None:
    """Draw the statistics of logits: one panel each, one row per arm."""
    arms = [arm for arm in found.arms if arm.logits]
    names = [name for name in _STATISTICS if arms and name in arms[0].logits]
    if not arms or not names:
        return None
    height = (0.8 + 0.2 * len(arms)) * -(-len(names) // 4)
    with figure_svg("logits", max(height, 1.8), width=WIDE) as (figure, done):
        axes = figure.subplots(-(-len(names) // 4), min(4, len(names)), squeeze=False, sharey=True)
        for axis, name in zip(axes.flat, names, strict=False):
            for place, arm in enumerate(arms):
                if name in arm.weak_logits:
                    axis.plot(arm.weak_logits[name], place, "o", color=COLORS[1], fillstyle="none")
                axis.plot(arm.logits[name], place, "o", color=COLORS[0])
            axis.set_title(name)
            axis.set_yticks(range(len(arms)), [arm.key for arm in arms])
            axis.set_ylim(len(arms) - 0.5, -0.5)
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.grid()
        for axis in list(axes.flat)[len(names) :]:
            axis.remove()
    return done[0]


def _logit_curves(found: Findings) -> str | None:
    """Draw the statistics of logits along training (Fig. 4): one panel each, one line per arm."""
    arms = [(arm.key, arm.logit_curve) for arm in found.arms if arm.logit_curve is not None]
    if not arms:
        return None
    names = [name for name in _STATISTICS if name in arms[0][1].statistics]
    rows = -(-len(names) // 3)
    height = 2.2 * rows + 0.25 * -(-len(arms) // 4) + 0.3
    with figure_svg("logit_curves", height, width=WIDE) as (figure, done):
        axes = figure.subplots(rows, min(3, len(names)), squeeze=False)
        for axis, name in zip(axes.flat, names, strict=False):
            for i, (arm, curve) in enumerate(arms):
                color = COLORS[i % len(COLORS)]
                axis.plot(curve.step, curve.statistics[name], _dashes(i), color=color, label=arm)
            axis.set_title(name)
            axis.grid()
        for axis in list(axes.flat)[len(names) :]:
            axis.remove()
        _legend_below(figure)
        figure.supxlabel("step", fontsize=10)
    return done[0]


def _legend_below(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
