"""The whole method as a list of steps: what depends on what, and where each result goes.

The plan is made before anything runs: every fingerprint follows from the configuration and
the inputs' content, so a submitter can send all steps at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import Config, JointConfig, Section, SftConfig, TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import fingerprint, reference
from wmss_cli.evaluate.tasks import task_inputs
from wmss_cli.models.folder import find_model


@dataclass(frozen=True)
class Output:
    """Something that a step reads: a result of the plan, or a file that is there."""

    path: str
    fingerprint: str
    step: str | None = None

    def part(self, name: str) -> Output:
        """Return a folder inside this artifact."""
        return Output(f"{self.path}/{name}", f"{self.fingerprint}/{name}", self.step)


@dataclass(frozen=True)
class Step:
    """One stage of the plan.

    Attributes
    ----------
    label : str
        Unique in the plan, such as ``score-weak-1``.
    job : Job
        What to run.
    fingerprint : str
        Of its result, which need not be there yet.
    needs : tuple of str
        Labels of the steps that must be done before.
    """

    label: str
    job: Job
    fingerprint: str
    needs: tuple[str, ...]


class Plan:
    """Steps in an order in which they can run; equal work stands in it once."""

    def __init__(self, run_dir: Path) -> None:
        self.steps: list[Step] = []
        self._run_dir = run_dir
        self._by_fingerprint: dict[str, Output] = {}

    def add(self, label: str, stage: str, config: Section, inputs: Mapping[str, Output]) -> Output:
        """Add a stage, unless the same work is planned already, and return its result."""
        identity = config.identity()
        prints = {role: source.fingerprint for role, source in inputs.items()}
        made = fingerprint(stage, identity, prints)
        if made in self._by_fingerprint:
            return self._by_fingerprint[made]
        out = self._run_dir / f"{stage.replace('_', '-')}-{made[:10]}"
        job = Job(
            stage=stage,
            config=config.model_dump(mode="json"),
            identity=identity,
            inputs={role: source.path for role, source in inputs.items()},
            out=str(out),
        )
        needs = {source.step for source in inputs.values() if source.step is not None}
        self.steps.append(Step(label, job, made, tuple(sorted(needs))))
        output = Output(str(out), made, label)
        self._by_fingerprint[made] = output
        return output


def external(path: Path) -> Output:
    """Describe a file or folder that is there already."""
    return Output(str(path), reference(path).fingerprint)


def plan_pipeline(config: Config) -> Plan:
    """Plan data → curate → tokenize → sft → K x (score, curriculum, joint) → eval → report.

    Parameters
    ----------
    config : Config
        With `model`, `data`, and `tasks` or `eval_files`.

    Raises
    ------
    ConfigError
        If an input is missing, or choices exclude each other.
    """
    _check(config, ("model", "data"))
    if not (config.tasks or config.eval_files):
        raise ConfigError("tasks is not set; the pipeline needs it or eval_files to evaluate on")
    plan = Plan(Path(config.run_dir))
    base, examples, tokens = _plan_tokens(plan, config)
    sft = plan.add("sft", "sft", config.sft, {"strong": base, "tokens": tokens})
    models = {"base": base, "sft": sft.part("model")}
    trained, kept = {"sft": sft}, {"sft": config.sft.epochs_kept}
    others = {"curate": examples, "tokenize": tokens}
    weak, strong = base, models["sft"]
    for k in range(1, config.iterations + 1):
        suffix = f"-{k}" if config.iterations > 1 else ""
        entropies = {
            role: plan.add(
                f"score-{role}{suffix}",
                "score_entropy",
                config.score_entropy,
                {"model": model, "tokens": tokens},
            )
            for role, model in (("weak", weak), ("strong", strong))
        }
        active = plan.add(f"curriculum{suffix}", "build_curriculum", config.curriculum, entropies)
        pair = {"weak": weak, "strong": strong, "tokens": tokens, "active": active}
        joint = plan.add(f"joint{suffix}", "joint_train", config.joint, pair)
        before = {"weak": weak, "strong": strong}
        name = f"wmss{suffix}"
        trained[name], models[name] = joint, joint.part("model")
        kept[name] = config.joint.epochs_kept
        others |= {f"score-{role}{suffix}": made for role, made in entropies.items()}
        others[f"curriculum{suffix}"] = active
        weak = strong if config.joint.next_weak == "previous_strong" else joint.part("weak")
        strong = joint.part("model")
        after = {"strong": strong}
        if config.joint.weak_mode == "cotrain" and config.joint.weak_logits == "model":
            after["weak"] = joint.part("weak")
    for control in config.controls:
        arm = _control_config(control, config)
        made = _control(control, plan, arm, {**before, "tokens": tokens, "active": active})
        trained[control], models[control] = made, made.part("model")
        kept[control] = arm.epochs_kept
    models |= {
        f"{name}@{epoch}": made.part(f"epoch-{epoch}")
        for name, made in trained.items()
        for epoch in kept[name]
    }
    tasks = _inputs(task_inputs(config.tasks, config.task_data, config.eval_files))
    evals = {
        name: plan.add(f"eval-{name}", "eval", config.eval, {"model": model, **tasks})
        for name, model in models.items()
    }
    watched = {f"before-{role}": model for role, model in before.items()}
    watched |= {f"after-{role}": model for role, model in after.items()}
    statistics = {
        f"analyze-{name}": plan.add(
            f"analyze-{name}", "analyze", config.analyze, {"tokens": tokens, "model": model}
        )
        for name, model in watched.items()
    }
    plan.add(
        "report",
        "report",
        Section(),
        {
            **{f"train-{name}": made for name, made in trained.items()},
            **{f"eval-{name}": made for name, made in evals.items()},
            **{f"stage-{name}": made for name, made in others.items()},
            **statistics,
        },
    )
    return plan


def token_table(config: Config) -> Path:
    """Return where the pipeline puts its token table, whether it is there or not.

    Parameters
    ----------
    config : Config
        With `model` and `data`.

    Raises
    ------
    ConfigError
        If an input is missing.
    """
    _check(config, ("model", "data"))
    _, _, tokens = _plan_tokens(Plan(Path(config.run_dir)), config)
    return Path(tokens.path)


def _inputs(paths: Mapping[str, str]) -> dict[str, Output]:
    return {role: external(Path(path)) for role, path in paths.items()}


def _plan_tokens(plan: Plan, config: Config) -> tuple[Output, Output, Output]:
    """Plan what comes before any training; return the base model, the examples, the tokens."""
    assert config.model is not None
    base = external(find_model(config.model))
    data = {f"data-{i:04d}": path for i, path in enumerate(config.data)}
    benchmarks = task_inputs(config.decontaminate, config.task_data, {})
    examples = plan.add("curate", "curate", config.curate, _inputs({**data, **benchmarks}))
    inputs = {"examples": examples, "model": base}
    return base, examples, plan.add("tokenize", "tokenize", config.tokenize, inputs)


def _control(kind: str, plan: Plan, config: TrainConfig, inputs: Mapping[str, Output]) -> Output:
    """Plan an arm to compare with: it starts where the last joint training started."""
    stage, roles = {
        "softening": ("joint_train", ("strong", "tokens", "active")),
        "continued_sft": ("sft", ("strong", "tokens")),
    }[kind]
    return plan.add(kind, stage, config, {role: inputs[role] for role in roles})


def _control_config(kind: str, config: Config) -> JointConfig | SftConfig:
    if kind == "softening":
        return config.joint.model_copy(update={"weak_logits": "uniform"})
    shared: dict[str, Any] = {
        name: getattr(config.joint, name) for name in TrainConfig.model_fields
    }
    # All samples once are len(D); the active set is multiplier * len(D): equal steps.
    shared["epochs"] = config.joint.epochs * config.curriculum.multiplier
    return SftConfig(**shared)


def _check(config: Config, needed: tuple[str, ...]) -> None:
    for key in needed:
        if not getattr(config, key):
            raise ConfigError(f"{key} is not set; the pipeline needs it (--set {key}=… or YAML)")
    if (
        config.joint.next_weak == "cotrained"
        and config.iterations > 1
        and (config.joint.weak_mode == "frozen" or config.joint.weak_logits == "uniform")
    ):
        raise ConfigError(
            "joint.next_weak cotrained needs a weak model that is trained; "
            "set joint.weak_mode cotrain, or next_weak previous_strong"
        )
