"""The state of a large study: a row for each arm, a column for each seed."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from wmss_cli.slurm.status import StageStatus

_STYLES = {"failed": "red", "cancelled": "red", "running": "cyan", "done": "green"}
_ORDER = ("failed", "cancelled", "running", "waiting", "not sent", "done")


def render(stages: Sequence[StageStatus]) -> Group:
    """Show for each arm and seed how many of the steps that it needs are done.

    Parameters
    ----------
    stages : sequence of StageStatus
        Those of a study. What several arms share counts for each of them.
    """
    models = list(dict.fromkeys(model for stage in stages for model in stage.models)) or [""]
    seeds = list(dict.fromkeys(seed for stage in stages for seed in stage.seeds))
    arms = list(dict.fromkeys(arm for stage in stages for arm in stage.arms))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if len(models) > 1:
        table.add_column("model", no_wrap=True)
    table.add_column("arm", no_wrap=True)
    for seed in seeds:
        table.add_column(f"seed {seed}", no_wrap=True, justify="right")
    for model in models:
        for arm in arms:
            cells = [_cell(_needed(stages, model, arm, seed)) for seed in seeds]
            table.add_row(*([model] if len(models) > 1 else []), arm, *cells)
    rest = [Text(f" {stage.label}: {stage.words}") for stage in stages if not stage.arms]
    return Group(table, *rest)


def _needed(stages: Sequence[StageStatus], model: str, arm: str, seed: int) -> list[StageStatus]:
    return [
        stage
        for stage in stages
        if arm in stage.arms
        and (seed in stage.seeds or not stage.seeds)
        and (model in stage.models or not stage.models)
    ]


def _cell(stages: Sequence[StageStatus]) -> str:
    """Say the worst of the states, and how much is done."""
    if not stages:
        return "-"
    done = sum(stage.state == "done" for stage in stages)
    state = min((stage.state for stage in stages), key=_ORDER.index)
    text = "done" if state == "done" else f"{state} {done}/{len(stages)}"
    style = _STYLES.get(state)
    return f"[{style}]{text}[/]" if style else text
