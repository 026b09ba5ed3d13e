"""The tables that a person reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wmss_cli.stages.catalogue import STEPS

if TYPE_CHECKING:
    from wmss_cli.core.manifest import Manifest
    from wmss_cli.results.findings import Findings
    from wmss_cli.stages.catalogue import Arm


_TASKS_ACROSS = 6
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
    table.caption = "cut: answers that reached the length limit"
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


def results(study: Findings) -> Group:
    """Show what a study found: arms with intervals and differences, and the answer."""
    from wmss_cli.results.conclusion import conclusion

    return Group(
        *(part for table in (_arms(study), *_by_task(study)) for part in (table, "")),
        *(Text(sentence) for sentence in conclusion(study)),
        "",
    )


def accuracies(study: Findings) -> str:
    """Return a line on each arm: its accuracy, the mean over the tasks."""
    widest = max(len(arm.key) for arm in study.arms)
    names = [task.name for task in study.tasks]
    lines = [f"accuracy in percent, mean of {len(names)} task{'s' if len(names) > 1 else ''}:"]
    for arm in study.arms:
        scores = [arm.tasks[name].accuracy.mean for name in names if name in arm.tasks]
        # A mean over fewer tasks would be another number.
        mean = f"{100 * sum(scores) / len(scores):.1f}" if len(scores) == len(names) else "-"
        lines.append(f"  {arm.key:<{widest}}  {mean:>5}")
    return "\n".join(lines)


def places(study: Findings, report: Path) -> list[str]:
    """Return lines to be printed whole: where the page is, and what is missing in it."""
    from wmss_cli.results.conclusion import missing_line

    missing = missing_line(study)
    return [f"page  {report / 'report.html'}", *([missing] if missing else [])]


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
            escape("; ".join(filter(None, (arm.purpose, changed))) or f"as {arm.like}"),
        )
    return Group(table, *(Text(line) for line in _shared(found)))


def plain_arm(arm: Arm) -> dict[str, Any]:
    """Return an arm as JSON values."""
    return {**asdict(arm), "minimises": arm.rule.words}


def _shared(found: Sequence[Arm]) -> Iterator[str]:
    """Say, in a sentence each, what several arms share, which is done once."""
    groups = {
        "One M1 for each seed": [
            arm for arm in found if arm.start == "sft" and not _changes(arm, "sft")
        ],
        "One draw of the active set for each seed": [
            arm
            for arm in found
            if (arm.start, arm.samples) == ("sft", "active")
            and not _changes(arm, "sft", "curriculum")
        ],
        "A second model in training": [
            arm for arm in found if arm.rule.weak != "none" or arm.objective == "undial_kd"
        ],
    }
    for what, members in groups.items():
        if len(members) > 1:
            yield f"{what}: {', '.join(arm.name for arm in members)}."


def _changes(arm: Arm, *sections: str) -> bool:
    return any(key.partition(".")[0] in sections for key in arm.overrides)


def _arms(study: Findings) -> Table:
    from wmss_cli.results.tables import p_value, percent, points

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    widest = max(len(arm.key) for arm in study.arms)
    table.add_column("arm", overflow="fold", min_width=min(widest, 20))
    names = ["mean", "95 %"]
    if study.comparisons:
        names += ["differs", "95 %", "p", "won"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for arm in study.arms:
        mean, gap = arm.mean, arm.gap
        cells = ["-", ""]
        if mean is not None:
            cells = [percent(mean.mean), f"{percent(mean.low)} - {percent(mean.high)}"]
        if study.comparisons and gap is not None:
            cells += [points(gap.mean), f"{points(gap.low)} to {points(gap.high)}"]
            cells += [p_value(gap.corrected), f"{gap.seeds_won}/{gap.seeds}"]
        table.add_row(arm.key, *cells)
    if study.comparisons:
        table.caption = (
            f"accuracy in percent; differs: points more than {study.reference}\n"
            "p: Holm's over all arms; won: seeds with which the arm is better"
        )
    table.caption_justify = "left"
    return table


def _by_task(study: Findings) -> list[Table]:
    """Show accuracies alone, arms by tasks: in as many tables as the width of a terminal needs."""
    if len(study.tasks) < 2:
        return []
    count = -(-len(study.tasks) // _TASKS_ACROSS)
    each = -(-len(study.tasks) // count)
    widest = max(len(arm.key) for arm in study.arms)
    found = []
    for first in range(0, len(study.tasks), each):
        tasks = study.tasks[first : first + each]
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("arm", overflow="fold", min_width=min(widest, 20))
        for task in tasks:
            table.add_column(task.title, justify="right", overflow="fold", min_width=5)
        for arm in study.arms:
            scores = [arm.tasks.get(task.name) for task in tasks]
            shown = ["-" if one is None else f"{100 * one.accuracy.mean:.1f}" for one in scores]
            table.add_row(arm.key, *shown)
        found.append(table)
    return found
