"""How arms differ from the reference: paired, over seeds and problems, corrected by Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from wmss_cli.results.crossed import SeedDifference, difference
from wmss_cli.results.findings import ArmResult, Gap
from wmss_cli.results.statistics import holm
from wmss_cli.results.study import StudyArm, StudyRun

POWER = 0.8
"""Power at which a report calls a difference detectable."""

_Key = TypeVar("_Key")

Scores = dict[str, NDArray[np.float64]]
"""Scores ``[seeds, problems]``, by task."""


@dataclass(frozen=True)
class Scored:
    """The evaluated runs of an arm, with their verdicts as arrays."""

    model: str
    arm: StudyArm
    planned: list[StudyRun]
    runs: list[StudyRun]
    scores: Scores

    @property
    def seeds(self) -> list[int | None]:
        """The seeds of the runs, in order."""
        return [run.seed for run in self.runs]

    def only(self, seeds: Sequence[int | None]) -> Scores:
        """Return the scores of some seeds."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return {task: values[rows] for task, values in self.scores.items()}


def with_gaps(
    arms: Sequence[ArmResult], scored: Sequence[Scored], reference: str | None
) -> list[ArmResult]:
    """Compare every arm with the reference of its model, and correct p by Holm's method.

    The means of all arms are one family, the tasks of all arms another.
    """
    of_mean: dict[int, SeedDifference] = {}
    of_task: dict[tuple[int, str], SeedDifference] = {}
    references = {one.model: one for one in scored if one.arm.name == reference}
    for place, one in enumerate(scored):
        against = references.get(one.model)
        if against is None or against is one:
            continue
        # A model that depends on no seed is compared with every seed.
        free = one.seeds == [None] or against.seeds == [None]
        common = [seed for seed in one.seeds if seed in against.seeds]
        if not free and not common:
            continue
        first = against.scores if free else against.only(common)
        second = one.scores if free else one.only(common)
        shared = [task for task in first if task in second]
        for task in shared:
            of_task[place, task] = difference({task: first[task]}, {task: second[task]})
        # A mean over different tasks would be a different quantity.
        if shared and len(shared) == max(len(first), len(second)):
            of_mean[place] = difference(
                {task: first[task] for task in shared}, {task: second[task] for task in shared}
            )
    means = _corrected(of_mean)
    cells = _corrected(of_task)
    return [
        arm.model_copy(
            update={
                "gap": means.get(place),
                "tasks": {
                    task: score.model_copy(update={"gap": cells.get((place, task))})
                    for task, score in arm.tasks.items()
                },
            }
        )
        for place, arm in enumerate(arms)
    ]


def _corrected(found: Mapping[_Key, SeedDifference]) -> dict[_Key, Gap]:
    corrected = holm([one.p for one in found.values()])
    return {
        key: Gap.model_validate({**asdict(one), "corrected": p, "detectable": _detectable(one)})
        for (key, one), p in zip(found.items(), corrected, strict=True)
    }


def _detectable(found: SeedDifference) -> float:
    """Return the true difference that is found with 80 % power, given this standard error."""
    quantiles = stdtrit(found.df, 0.975) + stdtrit(found.df, POWER)
    return min(float(quantiles * found.standard_error), 1.0)
