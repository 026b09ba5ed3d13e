"""A plan: steps that depend on each other, with every fingerprint known before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.artifact import Job, describe
from wmss_cli.core.config import Config, JointConfig, Section, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import fingerprint, reference
from wmss_cli.core.selection import Selection, check_known
from wmss_cli.stages import table

_TRAININGS: Mapping[str, type[SftConfig | JointConfig]] = {
    "sft": SftConfig,
    "joint_train": JointConfig,
}


@dataclass(frozen=True)
class Output:
    """Something that a step reads: a result of the plan, or a file that exists already."""

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
        Unique in the plan, such as ``score-m1``.
    job : Job
        What to run.
    fingerprint : str
        Fingerprint of its result, which need not exist yet.
    needs : tuple of str
        Labels of the steps that must be done first.
    arms, seeds, models : tuple
        The arms, seeds and base models of a study that use its result; empty if all do.
    called : str or None
        The label under which its jobs were first sent; None if that is `label`.
    waits : tuple of str
        Folders that it reads and that jobs of other submissions make.
    """

    label: str
    job: Job
    fingerprint: str
    needs: tuple[str, ...]
    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    called: str | None = None
    waits: tuple[str, ...] = ()


class Plan:
    """Steps in an order in which they can run; equal work is in it once."""

    def __init__(self, run_dir: Path) -> None:
        self.steps: list[Step] = []
        self._run_dir = run_dir
        self._by_fingerprint: dict[str, Output] = {}
        self._labels: set[str] = set()

    def add(
        self,
        label: str,
        stage: str,
        config: Section,
        inputs: Mapping[str, Output],
        otherwise: Iterable[str] = (),
    ) -> Output:
        """Add a stage, unless the same work is planned already, and return its result.

        Parameters
        ----------
        label : str
            Label of the step.
        stage : str
            Name of the stage.
        config : Section
            Its options.
        inputs : mapping of str to Output
            Inputs by role.
        otherwise : iterable of str
            Labels to take if other work already has this one.

        Raises
        ------
        ConfigError
            If none of the labels is free: an arm has the name of another step.
        """
        identity = config.identity()
        prints = {role: source.fingerprint for role, source in inputs.items()}
        made = fingerprint(stage, identity, prints)
        if made in self._by_fingerprint:
            return self._by_fingerprint[made]
        free = [name for name in (label, *otherwise) if name not in self._labels]
        if not free:
            raise ConfigError(
                f"arms: two steps would be called {label}; give the arm of that name another name",
                ("arms",),
            )
        label = free[0]
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
        self._labels.add(label)
        output = Output(str(out), made, label)
        self._by_fingerprint[made] = output
        return output


def training_of(job: Job) -> SftConfig | JointConfig | None:
    """Return the options that a job trains with; None if it does not train."""
    section = _TRAININGS.get(job.stage)
    return None if section is None else section.model_validate(job.config)


def check_as_planned(job: Job, planned: str) -> None:
    """Refuse work that is no longer what was planned; call it when what the job reads exists.

    Its result would have the name of other work, and count as done nowhere.

    Parameters
    ----------
    job : Job
        A stage as a whole, or a shard that was planned by itself.
    planned : str
        Fingerprint of its result in the plan.

    Raises
    ------
    ConfigError
        If an input has changed since, or this version of wmss decides by other rules than the one
        that planned it.
    """
    if describe(job)[0] != planned:
        raise ConfigError(
            f"{job.out}: an input ({', '.join(job.inputs)}) has changed since this was planned, so "
            "the result would be another one; type the command that planned it again, not retry"
        )
    name = table.find(job.stage).section
    if name is None:
        return
    section = Config.model_fields[name].annotation
    assert isinstance(section, type)
    assert issubclass(section, Section)
    options = {key: value for key, value in job.config.items() if key != "shard"}
    decides = {k: v for k, v in job.identity.items() if k not in ("shard", "shards")}
    if section.model_validate(options).identity() != decides:
        raise ConfigError(
            f"{job.out}: another version of wmss planned this, and decides by other rules; type "
            "the command that planned it again, not retry"
        )


def external(path: Path) -> Output:
    """Describe a file or folder that exists already."""
    return Output(str(path), reference(path).fingerprint)


def select(steps: Iterable[Step], selection: Selection) -> list[Step]:
    """Return the steps that the selected part of a study needs.

    Raises
    ------
    ConfigError
        If the study has no such arm, seed or model.
    """
    steps = list(steps)
    for name, value in vars(selection).items():
        if value is None:
            continue
        check_known(name, value, {one for step in steps for one in _users(step, name)})
        # What belongs to no seed, such as curation, belongs to each of them.
        steps = [
            step
            for step in steps
            if value in _users(step, name)
            or (not _users(step, name) and (step.arms or name != "arm"))
        ]
    return steps


def only_of(steps: Iterable[Step], selection: Selection) -> list[Step]:
    """Return the steps that only the selected part of a study needs.

    Raises
    ------
    ConfigError
        As in :func:`select`.
    """
    return [
        step
        for step in select(steps, selection)
        if all(
            value is None or _users(step, name) == (value,)
            for name, value in vars(selection).items()
        )
    ]


def _users(step: Step, name: str) -> tuple[Any, ...]:
    """Return the arms, seeds or models of a study that use a step's result."""
    return {"arm": step.arms, "seed": step.seeds, "model": step.models}[name]
