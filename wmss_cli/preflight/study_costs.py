"""What a study costs: every arm alone, what it adds to the others, and all of them.

The steps are those that :mod:`wmss_cli.stages.pipeline` plans, with equal work once. They are
planned here without looking at data or weights, since a forecast is needed before these exist.
Curation and tokenisation are included; the report is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import Config, JointConfig, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.selection import WHOLE, Selection, check_known
from wmss_cli.preflight.step_costs import KINDS, Kind, Prices, StepPrice, drawn_rows
from wmss_cli.results.study import Study, StudyRun
from wmss_cli.stages import table
from wmss_cli.stages.arm_steps import ArmPlanner
from wmss_cli.stages.arms import arms_of
from wmss_cli.stages.plan import Output, Plan, Step, training_of


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class ArmPrice(_Result):
    """One arm, over all seeds and base models that are priced."""

    arm: str
    trainings: int
    """Trainings on its way from M0, including the first phase."""
    steps: int
    """Steps of the optimizer, in these trainings."""
    flops: int
    """FLOPs of all its work, alone, without recomputation."""
    gpu_hours: float
    """GPU-hours of the arm alone, including what it shares with others."""
    added_flops: int
    """FLOPs of the work that no other arm of the study needs."""
    added_gpu_hours: float
    """GPU-hours of that work."""


class StudyForecast(_Result):
    """What a study costs."""

    models: list[str]
    """Names of the base models; one without a choice has the empty name."""
    seeds: list[int]
    generation_share: float
    """Fraction of the GPUs' peak FLOP/s at which answers are written."""
    problems: dict[str, int]
    """Number of problems, by benchmark."""
    samples: int
    """Answers per problem."""
    mean_prompt_tokens: int
    mean_answer_tokens: int
    """Mean tokens of an answer, before it is cut at a benchmark's limit."""
    arms: list[ArmPrice]
    shared_gpu_hours: float
    """GPU-hours of the work that several arms need."""
    kinds: dict[Kind, float]
    """GPU-hours by kind of work on GPUs."""
    trainings: int
    steps: int
    flops: int
    recomputed_flops: int
    gpu_hours: float
    pipeline: PipelineTime
    work: list[StepPrice]


@dataclass(frozen=True)
class Planned:
    """The steps of a study.

    Attributes
    ----------
    config : Config
        Configuration of the study.
    steps : tuple of Step
        As in the plan, without the report. Their fingerprints are not those of the artifacts: no
        input was read.
    runs : tuple of StudyRun
        Each arm with each seed and base model.
    models : mapping of str to str
        The base model of each step, by label.
    """

    config: Config
    steps: tuple[Step, ...]
    runs: tuple[StudyRun, ...]
    models: Mapping[str, str]

    def trainings(self) -> Iterable[tuple[Step, SftConfig | JointConfig]]:
        """Yield the steps that train, each with what it is trained with."""
        for step in self.steps:
            trained_with = training_of(step.job)
            if trained_with is not None:
                yield step, trained_with


def base_models(config: Config) -> dict[str, str]:
    """Return the base models by name; a single one has no name.

    Raises
    ------
    ConfigError
        If none is set, or both `model` and `models` are.
    """
    if config.models and config.model is not None:
        raise ConfigError("model and models are both set; keep one of them")
    if config.models:
        return dict(config.models)
    if config.model is None:
        raise ConfigError("model is not set; 'wmss plan' needs its config.json (--set model=…)")
    return {"": config.model}


def plan_study(config: Config, models: Mapping[str, str], selection: Selection = WHOLE) -> Planned:
    """Plan the steps of a study, or of a part of it, without reading any input.

    Parameters
    ----------
    config : Config
        Configuration of the study.
    models : mapping of str to str
        What distinguishes the base models, by name.
    selection : Selection
        The part to plan.

    Raises
    ------
    ConfigError
        If an arm cannot be trained, or the study has no such arm, seed or model.
    """
    arms = arms_of(config)
    names = _chosen("arm", selection.arm, [arm.name for arm in arms])
    seeds = _chosen("seed", selection.seed, config.seeds or [config.seed])
    kept = _chosen("model", selection.model, [name for name in models if name]) or list(models)
    plan = Plan(Path(config.run_dir))
    runs: list[StudyRun] = []
    owners: dict[str, str] = {}
    for model in kept:
        base = Output(models[model], f"model {models[model]}")
        data = {f"data-{i:04d}": Output(path, path) for i, path in enumerate(config.data)}
        examples = plan.add("curate", "curate", config.curate, data)
        made_from = {"examples": examples, "model": base}
        label = f"{model}/tokenize" if model else "tokenize"
        tokens = plan.add(label, "tokenize", config.tokenize, made_from)
        for seed in seeds:
            planner = ArmPlanner(plan, config, model, seed, base, tokens, {})
            for arm in arms:
                if arm.name in names:
                    planner.check_overrides(arm)
                    run, _ = planner.add(arm)
                    runs += [run] if run not in runs else []
        for step in plan.steps[len(owners) :]:
            owners[step.label] = model
    return Planned(config, tuple(plan.steps), tuple(runs), owners)


_T = TypeVar("_T", str, int)


def _chosen(name: str, value: _T | None, known: Sequence[_T]) -> list[_T]:
    if value is None:
        return list(known)
    check_known(name, value, known)
    return [value]


def price_study(planned: Planned, prices: Prices) -> StudyForecast:
    """Price every step of a study once, and the arms by what they need.

    Parameters
    ----------
    planned : Planned
        The steps.
    prices : Prices
        Rates and sizes to price them with.
    """
    users = _users(planned)
    answers = prices.answers
    work = [
        prices.of(
            step,
            planned.models[step.label],
            users[step.label],
            drawn_rows(step, planned.steps, prices.work.samples),
        )
        for step in planned.steps
        if answers.benchmarks or step.job.stage != "eval"
    ]
    arms = list(dict.fromkeys(run.arm for run in planned.runs))
    kinds = dict.fromkeys(KINDS.values(), 0.0)
    for step in work:
        if step.kind in kinds:
            kinds[step.kind] += step.gpu_hours
    total = sum(step.gpu_hours for step in work)
    trained = [step for step in work if step.kind == "training"]
    return StudyForecast(
        models=list(dict.fromkeys(run.model for run in planned.runs)),
        seeds=list(dict.fromkeys(run.seed for run in planned.runs if run.seed is not None)),
        generation_share=prices.rates.generation,
        problems={benchmark.name: benchmark.problems for benchmark in answers.benchmarks},
        samples=answers.samples,
        mean_prompt_tokens=answers.prompt_tokens,
        mean_answer_tokens=answers.answer_tokens,
        arms=[_arm(name, work) for name in arms],
        shared_gpu_hours=sum(step.gpu_hours for step in work if len(step.arms) > 1),
        kinds=kinds,
        trainings=len(trained),
        steps=sum(step.steps for step in trained),
        flops=sum(step.flops for step in work),
        recomputed_flops=sum(step.recomputed_flops for step in work),
        gpu_hours=total,
        pipeline=pipeline_time(planned.steps, {step.label: step for step in work}),
        work=work,
    )


def _users(planned: Planned) -> dict[str, list[StudyRun]]:
    """Return which runs need each step, by label."""
    needs = {step.label: step.needs for step in planned.steps}
    users: dict[str, list[StudyRun]] = {label: [] for label in needs}
    for run in planned.runs:
        named = Study(models={}, arms=[], seeds=[], compare_with=None, tables=[], runs=[run])
        waiting = named.labels()
        seen: set[str] = set()
        while waiting:
            label = waiting.pop()
            if label not in seen:
                seen.add(label)
                users[label].append(run)
                waiting += needs[label]
    return users


def _arm(name: str, work: Sequence[StepPrice]) -> ArmPrice:
    needed = [step for step in work if name in step.arms]
    own = [step for step in needed if step.arms == [name]]
    trained = [step for step in needed if step.kind == "training"]
    return ArmPrice(
        arm=name,
        trainings=len(trained),
        steps=sum(step.steps for step in trained),
        flops=sum(step.flops for step in needed),
        gpu_hours=sum(step.gpu_hours for step in needed),
        added_flops=sum(step.flops for step in own),
        added_gpu_hours=sum(step.gpu_hours for step in own),
    )


class StageTime(_Result):
    """The time of all steps of one stage."""

    stage: str
    """Name of its command."""
    steps: int
    """How many steps the study has."""
    gpu_hours: float
    longest_hours: float
    """Hours of its longest step, by the clock."""
    path_hours: float
    """Hours of its steps on the longest path."""


class PipelineTime(_Result):
    """The time from curation to the report."""

    stages: list[StageTime]
    gpu_hours: float
    path_hours: float
    """Hours of the longest path through the steps, if everything that can run at the same time
    does."""
    serial_hours: float
    """Hours of one step after another."""


def pipeline_time(steps: Sequence[Step], prices: Mapping[str, StepPrice]) -> PipelineTime:
    """Add up a study by stage.

    Parameters
    ----------
    steps : sequence of Step
        In an order in which they can run.
    prices : mapping of str to StepPrice
        Prices of the steps, by label.
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
    """Return the labels of the steps on the longest path, which only more speed can shorten."""
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
