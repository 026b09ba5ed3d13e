"""The smallest difference that a study can find, by benchmark and for their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config
from wmss_cli.preflight.inputs import Answers
from wmss_cli.results.crossed import LEVEL
from wmss_cli.results.power import DEFAULT, POWER, detectable_difference
from wmss_cli.stages.arms import arms_of, reference_arm


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class Detectable(_Result):
    """The difference that is found on one benchmark, or on the mean over all."""

    problems: int
    alone: float | None
    """As the only comparison, at level 0.05, as a fraction; null if even the largest possible
    difference is found less often."""
    corrected: float | None
    """As one of all comparisons, at the corrected level."""


class PowerForecast(_Result):
    """The smallest difference that is found with a given power, before anything is run."""

    reference: str
    """The arm that all others are compared with."""
    comparisons: int
    corrected_level: float
    """Level of Holm's strictest step: 0.05 over the number of comparisons."""
    power: float
    seeds: int
    samples: int
    """Answers per problem."""
    assumptions: dict[str, float]
    """As :class:`wmss_cli.results.power.Assumptions` explains them."""
    tasks: dict[str, Detectable]
    mean: Detectable
    """For the mean of the accuracies, each task weighted equally."""


def forecast_power(config: Config, answers: Answers) -> PowerForecast | None:
    """Return the smallest differences that the whole study finds; None if nothing is compared.

    Parameters
    ----------
    config : Config
        With arms and seeds. Each base model has a family of comparisons of its own.
    answers : Answers
        What evaluation asks for, with the numbers of problems.
    """
    arms = arms_of(config)
    reference = reference_arm(config, arms)
    problems = {benchmark.name: benchmark.problems for benchmark in answers.benchmarks}
    if reference is None or len(arms) < 2 or not problems:
        return None
    comparisons = len(arms) - 1
    corrected_level, seeds = LEVEL / comparisons, max(1, len(config.seeds))

    def smallest(among: Mapping[str, int], level: float) -> float | None:
        difference = detectable_difference(among, seeds, answers.samples, level)
        return difference if math.isfinite(difference) else None

    def found(among: Mapping[str, int]) -> Detectable:
        return Detectable(
            problems=sum(among.values()),
            alone=smallest(among, LEVEL),
            corrected=smallest(among, corrected_level),
        )

    return PowerForecast(
        reference=reference,
        comparisons=comparisons,
        corrected_level=corrected_level,
        power=POWER,
        seeds=seeds,
        samples=answers.samples,
        assumptions=asdict(DEFAULT),
        tasks={name: found({name: count}) for name, count in problems.items()},
        mean=found(problems),
    )
