"""A study as a plan: all arms, seeds and base models, and equal work once.

The plan is made before anything runs: every fingerprint follows from the configuration and
the inputs' content, so a submitter can send all steps at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wmss_cli.core.config import Config
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.section import Section
from wmss_cli.data.sources import data_inputs
from wmss_cli.evaluate.tasks import task_inputs
from wmss_cli.models.folder import check_full_precision, find_model
from wmss_cli.models.shape import ModelShape
from wmss_cli.models.weights import weight_files
from wmss_cli.results.study import Study, StudyArm, StudyRun
from wmss_cli.stages.arm_steps import ArmPlanner, label_of
from wmss_cli.stages.arms import arms_of, reference_arm
from wmss_cli.stages.catalogue import Arm
from wmss_cli.stages.model_checks import check_jobs
from wmss_cli.stages.plan import Output, Plan, Step, external


class ReportConfig(Section):
    """The study that the report is about."""

    study: dict[str, Any]
    """Values of :class:`wmss_cli.results.study.Study`."""


@dataclass(frozen=True)
class StudyPlan:
    """The plan of a configuration.

    Attributes
    ----------
    steps : tuple of Step
        In an order in which they can run; the last one is the report.
    study : Study
        Which step belongs to which arm and seed.
    same : tuple of (str, str)
        Arms that are the same work as an earlier one, each with that one.
    """

    steps: tuple[Step, ...]
    study: Study
    same: tuple[tuple[str, str], ...]


def plan_pipeline(config: Config, provisional: bool = False, force: bool = False) -> StudyPlan:
    """Plan all arms of a configuration, for all of its seeds and base models.

    Parameters
    ----------
    config : Config
        With `model` or `models`, `data`, and `tasks` or `eval_files`.
    provisional : bool
        Plan with inputs that are not here, by their names: whatever depends on them gets other
        fingerprints than it will have. Nothing is downloaded.
    force : bool
        Everything that is planned will be made again.

    Raises
    ------
    ConfigError
        If an input is missing (unless `provisional`), choices exclude each other, or an arm cannot
        be trained.
    """
    models = _base_models(config)
    if not (config.tasks or config.eval_files):
        raise ConfigError("tasks is not set; the pipeline needs it or eval_files to evaluate on")
    if config.sft.match_flops != "none":
        raise ConfigError(
            "sft.match_flops: the first phase has no joint training to match; an arm with "
            "steps: flops has, such as continued_sft_flops",
            ("sft", "match_flops"),
        )
    arms = arms_of(config)
    compare_with = reference_arm(config, arms)
    plan = Plan(Path(config.run_dir))
    files = task_inputs(config.tasks, config.task_data, config.eval_files)
    tasks = _inputs(files, provisional)
    seeds = config.seeds or [config.seed]
    runs: list[StudyRun] = []
    finals: dict[str, list[str]] = {arm.name: [] for arm in arms}
    shared: dict[str, str] = {}
    for name, folder in models.items():
        base, examples, tokens = _plan_tokens(plan, config, folder, name, provisional)
        shared["curate"] = label_of(examples)
        shared[f"{name}/tokenize" if name else "tokenize"] = label_of(tokens)
        for seed in seeds:
            planner = ArmPlanner(plan, config, name, seed, base, tokens, tasks)
            for arm in arms:
                _check_model(arm, Path(base.path))
                planner.check_overrides(arm)
                run, final = planner.add(arm)
                finals[arm.name].append(final)
                if run not in runs:
                    runs.append(run)
    study = Study(
        models=models,
        arms=[_described(arm) for arm in arms],
        seeds=seeds,
        compare_with=compare_with,
        tables=list(config.tables),
        shared=shared,
        runs=runs,
    )
    by_label = {step.label: step for step in plan.steps}
    outputs = {
        label: Output(by_label[label].job.out, by_label[label].fingerprint, label)
        for label in study.labels()
    }
    plan.add("report", "report", ReportConfig(study=study.model_dump(mode="json")), outputs)
    # What is made again is not checked, since it may be damaged.
    check_jobs(
        (step.job for step in plan.steps), {step.job.out for step in plan.steps} if force else ()
    )
    return StudyPlan(tuple(_used(plan.steps, study)), study, _same(finals))


def token_table(config: Config) -> Path:
    """Return where the pipeline puts its token table, whether it exists or not.

    Parameters
    ----------
    config : Config
        With `model` and `data`; of several models, the first counts.

    Raises
    ------
    ConfigError
        If an input is missing.
    """
    name, folder = next(iter(_base_models(config).items()))
    _, _, tokens = _plan_tokens(Plan(Path(config.run_dir)), config, folder, name, False)
    return Path(tokens.path)


def _base_models(config: Config) -> dict[str, str]:
    """Return the base models by name; a single one has no name."""
    if config.models and config.model is not None:
        raise ConfigError("model and models are both set; keep one of them", ("models",))
    models = config.models or ({} if config.model is None else {"": config.model})
    for key, value in (("model", models), ("data", config.data)):
        if not value:
            raise ConfigError(f"{key} is not set; the pipeline needs it (--set {key}=… or YAML)")
    named: dict[str, str] = {}
    for name, folder in models.items():
        other = named.setdefault(os.path.realpath(folder), name)
        if other != name:
            raise ConfigError(
                f"models: {other} and {name} are both {folder}; keep one", ("models", name)
            )
    return models


def _check_model(arm: Arm, folder: Path) -> None:
    """Refuse now what an arm's stage would refuse only after all earlier stages."""
    if not folder.exists():
        # Only a provisional plan gets here.
        return
    if arm.steps == "flops":
        try:
            ModelShape.of_folder(folder)
        except ConfigError as error:
            raise ConfigError(f"arm {arm.name} counts FLOPs: {error}, or leave it out") from None
    if arm.rule.stage == "extrapolate" and arm.start == "sft" and not weight_files(folder):
        raise ConfigError(
            f"arm {arm.name}: {folder}: no safetensors files; save the model in that format, or "
            "leave the arm out"
        )


def _inputs(paths: Mapping[str, str], provisional: bool) -> dict[str, Output]:
    return {
        role: _not_here(path) if provisional and not Path(path).exists() else external(Path(path))
        for role, path in paths.items()
    }


def _not_here(path: str) -> Output:
    return Output(path, f"not here: {path}")


def _plan_tokens(
    plan: Plan, config: Config, model: str, name: str, provisional: bool
) -> tuple[Output, Output, Output]:
    """Plan what comes before any training; return the base model, the examples, the tokens."""
    base = _base(model, provisional)
    data = data_inputs(config.data, provisional)
    benchmarks = task_inputs(config.decontaminate, config.task_data, {})
    given = _inputs({**data, **benchmarks}, provisional)
    examples = plan.add("curate", "curate", config.curate, given)
    inputs = {"examples": examples, "model": base}
    label = f"{name}/tokenize" if name else "tokenize"
    return base, examples, plan.add(label, "tokenize", config.tokenize, inputs)


def _base(model: str, provisional: bool) -> Output:
    try:
        folder = find_model(model, download=not provisional)
    except ConfigError:
        # A folder that exists but does not contain a model is refused anyway.
        if not provisional or Path(model).exists():
            raise
        return _not_here(model)
    check_full_precision(folder)
    return external(folder)


def _described(arm: Arm) -> StudyArm:
    return StudyArm.model_validate({**asdict(arm), "objective": arm.rule.words})


def _used(steps: Sequence[Step], study: Study) -> Iterator[Step]:
    """Yield the steps, each with the arms, seeds and models that need it."""
    by_label = {step.label: step for step in steps}
    users: dict[str, list[StudyRun]] = {label: [] for label in by_label}
    for run in study.runs:
        waiting = study.model_copy(update={"runs": [run], "shared": {}}).labels()
        seen: set[str] = set()
        while waiting:
            label = waiting.pop()
            if label not in seen:
                seen.add(label)
                waiting += by_label[label].needs
        for label in seen:
            users[label].append(run)
    for step in steps:
        runs = users[step.label]
        yield replace(
            step,
            arms=tuple(dict.fromkeys(run.arm for run in runs)),
            seeds=tuple(dict.fromkeys(run.seed for run in runs if run.seed is not None)),
            models=tuple(dict.fromkeys(run.model for run in runs if run.model)),
        )


def _same(finals: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Return arms that end in the same models as an earlier one, each with that one."""
    first: dict[tuple[str, ...], str] = {}
    found = []
    for arm, prints in finals.items():
        other = first.setdefault(tuple(prints), arm)
        if other != arm:
            found.append((arm, other))
    return tuple(found)
