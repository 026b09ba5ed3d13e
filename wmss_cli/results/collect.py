"""Turn the artifacts of a study into everything that its report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wmss_cli.core.files import canonical_hash
from wmss_cli.core.manifest import Manifest
from wmss_cli.results.artifacts import Sources, cost_of
from wmss_cli.results.crossed import estimate
from wmss_cli.results.curves import LOGITS_FILE, METRICS_FILE, curve_of, logit_curve_of
from wmss_cli.results.examples import MOST, Asked, choose, show
from wmss_cli.results.findings import (
    ArmResult,
    Bin,
    Cloud,
    Curation,
    Curve,
    Findings,
    Interval,
    Problem,
    Score,
    Task,
)
from wmss_cli.results.gaps import Scored, Scores, with_gaps
from wmss_cli.results.grades import Grades, matrix, problems_of, read_grades
from wmss_cli.results.samples import (
    CURRICULUM_FILE,
    LOSSES_FILE,
    cloud_of,
    loss_by_difficulty,
    mean_bins,
    shares_of,
)
from wmss_cli.results.study import StudyArm, StudyRun

_ByLabel = Mapping[str, Mapping[str, Grades]]


def collect(
    sources: Sources,
    tasks: Sequence[Task],
    commands: Sequence[str] = (),
    most_examples: int = MOST,
) -> Findings:
    """Read what exists of a study.

    Parameters
    ----------
    sources : Sources
        The study and its artifacts.
    tasks : sequence of Task
        What is known about the benchmarks. A benchmark that is not among them goes by its name.
    commands : sequence of str
        The commands that repeat the study.
    most_examples : int
        Largest number of problems per task whose answers are shown.

    Raises
    ------
    ConfigError
        If two evaluations have different problems in one task.
    """
    study = sources.study
    labels = [label for run in study.runs for label in (run.evaluation, *run.earlier.values())]
    grades = {label: read_grades(sources.paths[label]) for label in sources.finished(labels)}
    order = [task.name for task in tasks]
    names = list(dict.fromkeys(task for own in grades.values() for task in own))
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    known = {task.name: task for task in tasks}
    found = [known.get(name, Task(name=name, title=name)) for name in names]
    reader = _Reader(sources, grades, found, problems_of(names, list(grades.values())))
    pairs = [(model, arm) for model in study.models for arm in study.arms]
    scored = [reader.scores(model, arm) for model, arm in pairs]
    arms = [reader.arm(one) for one in scored]
    arms = with_gaps(arms, scored, study.compare_with)
    return Findings(
        study=study,
        tasks=found,
        arms=arms,
        comparisons=sum(arm.gap is not None for arm in arms),
        curation=_curation(sources),
        first_phases=_first_phases(sources),
        clouds=_clouds(sources),
        problems=_examples(reader, scored, most_examples),
        answered=sum(len(keys) for keys in reader.problems.values()),
        versions=sources.versions(),
        commands=list(commands),
        missing=sources.missing(),
    )


@dataclass(frozen=True)
class _Reader:
    sources: Sources
    grades: _ByLabel
    tasks: Sequence[Task]
    problems: Mapping[str, list[str]]

    def scores(self, model: str, arm: StudyArm) -> Scored:
        planned = [r for r in self.sources.study.runs if (r.model, r.arm) == (model, arm.name)]
        runs = [run for run in planned if run.evaluation in self.grades]
        labels = [run.evaluation for run in runs]
        return Scored(model, arm, planned, runs, self._matrices(labels, arm.name))

    def _matrices(self, labels: Sequence[str], where: str) -> Scores:
        """Return the scores of some evaluations on the tasks that all of them have."""
        own = [self.grades[label] for label in labels]
        return {
            task.name: matrix(
                [grades[task.name] for grades in own],
                self.problems[task.name],
                f"{where}, task {task.name}",
            )
            for task in self.tasks
            if own and all(task.name in grades for grades in own)
        }

    def arm(self, scored: Scored) -> ArmResult:
        """Read everything about an arm except how it compares."""
        sources, runs = self.sources, scored.planned
        complete = bool(scored.scores) and len(scored.scores) == len(self.tasks)
        chains = [
            [sources.manifest(label) for label in run.trainings] for run in runs if run.trainings
        ]
        whole = [[m for m in own if m is not None] for own in chains if None not in own]
        last = [run.trainings[-1] for run in runs if run.trainings]
        curricula = sources.finished([run.curriculum for run in runs])
        bins = [self._bins(run) for run in runs]
        return ArmResult(
            model=scored.model,
            arm=scored.arm.name,
            seeds=scored.seeds,
            planned=len(runs),
            mean=_interval(scored.scores) if complete else None,
            kinds=self._kinds(scored.scores),
            tasks={name: self._score(scored, name) for name in scored.scores},
            epochs=self._epochs(runs),
            cost=cost_of(whole),
            options=self._options(runs),
            mix_lambda=self._lambda(runs),
            logits=self._statistics([run.logits for run in runs]),
            weak_logits=self._statistics([run.weak_logits for run in runs]),
            curve=curve_of(scored.arm.name, sources.files(last, METRICS_FILE)),
            logit_curve=logit_curve_of(sources.files(last, LOGITS_FILE)),
            curriculum=shares_of(_manifests(sources, curricula)),
            by_difficulty=mean_bins([own[0] for own in bins]),
            by_change=mean_bins([own[1] for own in bins]),
        )

    def _kinds(self, scores: Scores) -> dict[str, Interval]:
        """Return the means over mathematics and over code, if the study has both."""
        by_kind: dict[str, list[str]] = {}
        for task in self.tasks:
            by_kind.setdefault(task.kind, []).append(task.name)
        if len(by_kind) < 2:
            return {}
        return {
            kind: _interval({name: scores[name] for name in names})
            for kind, names in by_kind.items()
            if all(name in scores for name in names)
        }

    def _score(self, scored: Scored, task: str) -> Score:
        values = scored.scores[task]
        own = [self.grades[run.evaluation][task] for run in scored.runs]
        metrics = [
            manifest.metrics.get("tasks", {}).get(task, {})
            for manifest in _manifests(self.sources, [run.evaluation for run in scored.runs])
        ]
        answers = sum(one.answers for one in own)
        return Score(
            accuracy=_interval({task: values}),
            by_seed=values.mean(axis=1).tolist(),
            problems=values.shape[1],
            samples=own[0].answers // len(own[0].shares),
            pass_at_k=_mean_of([one.get("pass_at_k", {}) for one in metrics]),
            majority_at_k=_mean_of([one.get("majority_at_k", {}) for one in metrics]),
            answers=answers,
            cut=sum(one.cut for one in own),
            mean_tokens=sum(one.tokens for one in own) / answers,
        )

    def _epochs(self, runs: Sequence[StudyRun]) -> dict[str, dict[str, Interval]]:
        names = dict.fromkeys(name for run in runs for name in run.earlier)
        found = {}
        for name in names:
            labels = [run.earlier[name] for run in runs if run.earlier.get(name) in self.grades]
            scores = self._matrices(labels, name)
            if scores:
                found[name] = {task: _interval({task: own}) for task, own in scores.items()}
        return found

    def _options(self, runs: Sequence[StudyRun]) -> dict[str, str]:
        """Return the evaluation and training options of the first finished run, by dotted keys."""
        options: dict[str, str] = {}
        for run in runs:
            evaluation = self.sources.manifest(run.evaluation)
            training = self.sources.manifest(run.trainings[-1]) if run.trainings else None
            curriculum = self.sources.manifest(run.curriculum)
            if training is not None:
                options["training"] = training.stage
            for prefix, one in (
                ("train", training),
                ("curriculum", curriculum),
                ("eval", evaluation),
            ):
                for key, value in _settings(one).items():
                    options[f"{prefix}.{key}"] = str(value)
            if evaluation is not None:
                break
        return options

    def _lambda(self, runs: Sequence[StudyRun]) -> float | None:
        for manifest in _manifests(
            self.sources, self.sources.finished([r.trainings[-1] for r in runs if r.trainings])
        ):
            if manifest.stage == "joint_train":
                return float(manifest.config["mix_lambda"])
        return None

    def _statistics(self, labels: Sequence[str | None]) -> dict[str, float]:
        found = _manifests(self.sources, self.sources.finished(labels))
        return _mean_of([manifest.metrics["statistics"] for manifest in found])

    def _bins(self, run: StudyRun) -> tuple[list[Bin], list[Bin]]:
        """Return the loss by difficulty of one run, by the curriculum of its seed if it has one."""
        losses = self.sources.file(run.logits, LOSSES_FILE)
        near = [run, *(other for other in self.sources.study.runs if other.model == run.model)]
        near.sort(key=lambda other: other.seed != run.seed)
        of_run = [self.sources.file(other.curriculum, CURRICULUM_FILE) for other in [run, *near]]
        curriculum = next((path for path in of_run if path is not None), None)
        if losses is None or curriculum is None:
            return [], []
        return loss_by_difficulty(losses, curriculum)


def _interval(scores: Scores) -> Interval:
    return Interval.model_validate(estimate(scores), from_attributes=True)


def _manifests(sources: Sources, labels: Sequence[str]) -> list[Manifest]:
    return [manifest for manifest in map(sources.manifest, labels) if manifest is not None]


def _mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(name for one in found for name in one))
    return {name: float(np.mean([one[name] for one in found if name in one])) for name in names}


def _settings(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {}
    return {key: value for key, value in manifest.config.items() if key != "system_prompt"}


def _curation(sources: Sources) -> Curation | None:
    manifest = sources.manifest(sources.study.shared.get("curate"))
    if manifest is None:
        return None
    return Curation.model_validate(manifest.metrics)


def _first_phases(sources: Sources) -> list[Curve]:
    """Return the mean curve of each training, over its seeds, but not of the arms' last ones."""
    own = {run.trainings[-1] for run in sources.study.runs if run.trainings}
    labels = [label for run in sources.study.runs for label in run.trainings if label not in own]
    groups: dict[str, list[str]] = {}
    for label in sources.finished(labels):
        manifest = sources.manifest(label)
        assert manifest is not None
        config = {key: value for key, value in manifest.config.items() if key != "seed"}
        groups.setdefault(canonical_hash(config), []).append(label)
    curves = []
    for group in groups.values():
        curve = curve_of(group[0], sources.files(group, METRICS_FILE))
        curves += [curve] if curve is not None else []
    return curves


def _clouds(sources: Sources) -> list[Cloud]:
    """Return the first finished curriculum of each base model."""
    clouds: dict[str, Cloud] = {}
    for run in sources.study.runs:
        path = sources.file(run.curriculum, CURRICULUM_FILE)
        if path is not None and run.model not in clouds:
            clouds[run.model] = cloud_of(run.model, path)
    return list(clouds.values())


def _examples(reader: _Reader, scored: Sequence[Scored], most: int) -> list[Problem]:
    asked = [
        Asked(
            place,
            one.runs[0].seed,
            reader.sources.paths[one.runs[0].evaluation],
            reader.grades[one.runs[0].evaluation],
        )
        for place, one in enumerate(scored)
        if one.runs
    ]
    return show(choose(reader.problems, asked, most), asked) if most else []
