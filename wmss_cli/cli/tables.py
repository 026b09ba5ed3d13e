"""The tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from wmss_cli.cli.display import duration
from wmss_cli.stages.catalogue import STEPS

if TYPE_CHECKING:
    from wmss_cli.core.manifest import Manifest
    from wmss_cli.stages.catalogue import Arm


_HIDDEN = ("tokenizer", "stop_token_ids", "statistics")


def summary(manifest: Manifest) -> Group:
    """Show what a stage reports: tasks as a table, any other number on a line of its own."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    metrics = dict(manifest.metrics)
    tasks = metrics.pop("tasks", None)
    for name, value in _flat(metrics):
        table.add_row(name, value)
    return Group(_tasks(tasks), table) if tasks else Group(table)


def _tasks(tasks: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task", overflow="fold")
    sampled = any("majority_at_k" in score for score in tasks.values())
    for name in ("n", "accuracy", "95 %", *(["pass@n", "maj@n"] if sampled else []), "cut"):
        table.add_column(name, justify="right", no_wrap=True)
    for task, score in tasks.items():
        table.add_row(
            task,
            f"{score['n']:,}",
            f"{100 * score['accuracy']:.1f} %",
            f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f}",
            *(
                [
                    f"{100 * score['pass_at_k'][str(score['samples'])]:.1f} %",
                    f"{100 * score['majority_at_k'][str(score['samples'])]:.1f} %",
                ]
                if sampled
                else []
            ),
            f"{score['truncated']:,}",
        )
    table.caption = "cut: answers that reached their longest"
    table.caption_justify = "left"
    return table


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        if name in _HIDDEN:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}: ")
        else:
            yield prefix + name, number(value)


def number(value: Any) -> str:
    """Return a number as people read it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def results(found: Mapping[str, Any], report: Path) -> Group:
    """Show the results of a pipeline: accuracy, logits, stages, and where everything lies.

    Parameters
    ----------
    found : mapping
        Content of ``results.json``.
    report : Path
        The report's folder.
    """
    return Group(
        _accuracy(found["methods"]),
        "",
        _logits(found["logits"]),
        "",
        _stages(found["stages"]),
        Text(f"artifacts in  {report.parent}\nresults       {report / 'results.json'}"),
        Text(f"curves        {report / 'curves.png'}"),
    )


def arms(found: Sequence[Arm]) -> Group:
    """Show arms, a line each, and what they share."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("arm", "from", "samples", "steps", "what, and why"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for arm in found:
        changed = ", ".join(f"{key}={value}" for key, value in arm.overrides.items())
        table.add_row(
            arm.name,
            {"sft": "M1", "base": "M0"}.get(arm.start, arm.start),
            arm.samples,
            STEPS[arm.steps],
            arm.purpose or changed,
        )
    return Group(table, *(Text(line) for line in _shared(found)))


def plain_arm(arm: Arm) -> dict[str, Any]:
    """Return an arm as JSON values."""
    return {**asdict(arm), "minimises": arm.rule.words}


def _shared(found: Sequence[Arm]) -> Iterator[str]:
    """Say in a sentence each what arms have in common, which is done once."""
    groups = {
        "One M1 for each seed": [arm for arm in found if arm.start == "sft"],
        "One draw of the active set for each seed": [a for a in found if a.samples == "active"],
        "A second model in training": [
            arm for arm in found if arm.rule.weak != "none" or arm.objective == "undial_kd"
        ],
    }
    for what, members in groups.items():
        if len(members) > 1:
            yield f"{what}: {', '.join(arm.name for arm in members)}."


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)


def _accuracy(methods: Mapping[str, Any]) -> Table:
    table = _table("Accuracy by method (with its 95 % interval)")
    table.add_column("method", no_wrap=True)
    table.add_column("task", no_wrap=True)
    for name in ("right", "accuracy", "interval", "cut"):
        table.add_column(name, justify="right", no_wrap=True)
    for method, metrics in methods.items():
        for task, score in metrics["tasks"].items():
            table.add_row(
                method,
                task,
                f"{score['correct']}/{score['n']}",
                f"{100 * score['accuracy']:.1f} %",
                f"{100 * score['ci_low']:.1f} - {100 * score['ci_high']:.1f} %",
                str(score["truncated"]),
            )
    table.caption = "cut: answers that reached their longest"
    table.caption_justify = "left"
    return table


def _logits(logits: Mapping[str, Any]) -> Table:
    """Rows are statistics, columns are models before and after the last joint training."""
    models = {
        name: logits["statistics"][name]
        for name in ("before-weak", "before-strong", "after-weak", "after-strong")
        if name in logits["statistics"]
    }
    table = _table("Logits over completion tokens, before and after joint training")
    table.add_column("statistic", no_wrap=True)
    for name in models:
        table.add_column(name, justify="right")
    for statistic in next(iter(models.values())):
        table.add_row(statistic, *(f"{model[statistic]:.3f}" for model in models.values()))
    table.caption = f"lambda_cross before: {logits['lambda_cross']:.3f}"
    table.caption_justify = "left"
    return table


def _stages(stages: Mapping[str, Any]) -> Table:
    table = _table("Stages")
    table.add_column("stage", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    table.add_column("artifact", overflow="fold")
    for role, stage in stages.items():
        speed = stage["tokens_per_s"]
        table.add_row(
            role.removeprefix("stage-"),
            duration(stage["seconds"]),
            f"{speed:,.0f}" if speed else "",
            Path(stage["artifact"]).name,
        )
    return table
