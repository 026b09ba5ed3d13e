"""The whole pipeline by stage: GPU-hours, and the hours of the longest way through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from wmss_cli.launch.step_price import StepPrice
from wmss_cli.stages import table
from wmss_cli.stages.plan import Step


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageTime(_Result):
    """All steps of one stage."""

    stage: str
    """As its command is called."""
    steps: int
    """How many the study has."""
    gpu_hours: float
    longest_hours: float
    """Of its longest step, by the clock."""
    path_hours: float
    """Of its steps on the longest way."""


class PipelineTime(_Result):
    """From curation to the report."""

    stages: list[StageTime]
    gpu_hours: float
    path_hours: float
    """Of the longest way through the steps, if all that can run at the same time does."""
    serial_hours: float
    """One step after another."""


def pipeline_time(steps: Sequence[Step], prices: Mapping[str, StepPrice]) -> PipelineTime:
    """Add up a study by stage.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they can run.
    prices : mapping of str to StepPrice
        Of the steps that are priced, by label.
    """
    priced = [step for step in steps if step.label in prices]
    way = _longest_way(priced, prices)
    stages = {
        row.name: [prices[step.label] for step in priced if step.job.stage == row.name]
        for row in table.STAGES
    }
    lines = [
        StageTime(
            stage=stage.replace("_", "-"),
            steps=len(own),
            gpu_hours=sum(one.gpu_hours for one in own),
            longest_hours=max(one.hours for one in own),
            path_hours=sum(one.hours for one in own if one.label in way),
        )
        for stage, own in stages.items()
        if own
    ]
    return PipelineTime(
        stages=lines,
        gpu_hours=sum(line.gpu_hours for line in lines),
        path_hours=sum(line.path_hours for line in lines),
        serial_hours=sum(one.hours for one in prices.values()),
    )


def _longest_way(steps: Sequence[Step], prices: Mapping[str, StepPrice]) -> set[str]:
    """Return the labels of the steps that nothing but more speed makes end earlier."""
    ends: dict[str, float] = {}
    before: dict[str, str] = {}
    for step in steps:
        needs = [label for label in step.needs if label in ends]
        last = max(needs, key=ends.__getitem__, default=None)
        if last is not None:
            before[step.label] = last
        ends[step.label] = prices[step.label].hours + (0.0 if last is None else ends[last])
    way: set[str] = set()
    label: str | None = max(ends, key=ends.__getitem__, default=None)
    while label is not None:
        way.add(label)
        label = before.get(label)
    return way
