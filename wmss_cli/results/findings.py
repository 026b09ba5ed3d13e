"""What a report says, as data: everything that the page shows, and what ``results.json`` holds."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.results.study import Study

Kind = Literal["mathematics", "code"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Task(_Part):
    """A benchmark, as tables name it."""

    name: str
    title: str
    kind: Kind = "mathematics"


class Interval(_Part):
    """A mean with its 95 % interval; shares of 1."""

    mean: float
    low: float
    high: float
    seeds: int
    problems: int
    covers_seeds: bool


class Gap(_Part):
    """An arm less the reference, paired by problem and seed; shares of 1."""

    mean: float
    low: float
    high: float
    p: float
    corrected: float
    """p after Holm's correction for all comparisons of its family."""
    detectable: float
    """The smallest difference that a study of this size finds with 80 % power, uncorrected."""
    seeds: int
    problems: int
    covers_seeds: bool
    seeds_won: int
    seeds_lost: int


class Score(_Part):
    """One arm on one task."""

    accuracy: Interval
    by_seed: list[float]
    problems: int
    samples: int
    """Answers to each problem."""
    pass_at_k: dict[str, float] = {}
    majority_at_k: dict[str, float] = {}
    answers: int
    """Over all seeds."""
    cut: int
    """Answers that reached the longest allowed, of all seeds."""
    mean_tokens: float
    gap: Gap | None = None


class Cost(_Part):
    """What one seed of an arm takes to train, from M0 on: the mean over the seeds."""

    steps: float
    tokens: float
    flops: float | None
    """None where a training did not count them."""
    device_hours: float
    """Seconds of all trainings times their processes."""
    device: str
    """`cuda`, `cpu`, or both."""


class Curve(_Part):
    """Training by step, smoothed and thinned; the mean over the seeds."""

    name: str
    seeds: int
    step: list[int]
    strong_loss: list[float]
    loss: list[float]
    grad_norm: list[float]


class LogitCurve(_Part):
    """Statistics of the logits along training; the mean over the seeds."""

    step: list[int]
    statistics: dict[str, list[float]]


class Bin(_Part):
    """Loss of some samples."""

    name: str
    samples: int
    loss: float
    """Nats per completion token; the mean over samples, then over seeds."""


class Curriculum(_Part):
    """Of the last iteration; the mean over the seeds."""

    alpha: float
    beta: float
    gamma: float
    """The three terms' shares of the weights."""
    samples: int
    unique: float
    """Different samples in the active set."""
    effective: float
    """Effective sample size of the weights."""
    entropy_weak: float
    entropy_strong: float
    options: dict[str, float]
    """The three weights as configured, by `alpha`, `beta`, `gamma`."""


class ArmResult(_Part):
    """One arm on one base model."""

    model: str
    arm: str
    seeds: list[int | None]
    """Seeds with an evaluation."""
    planned: int
    """Evaluations that there are to be."""
    mean: Interval | None = None
    """Over all tasks of the study; None where it has not answered all of them."""
    kinds: dict[str, Interval] = {}
    gap: Gap | None = None
    tasks: dict[str, Score] = {}
    epochs: dict[str, dict[str, Interval]] = {}
    """By epoch or iteration, then by task."""
    cost: Cost | None = None
    options: dict[str, str] = {}
    """How it was trained and evaluated, by dotted keys."""
    mix_lambda: float | None = None
    logits: dict[str, float] = {}
    weak_logits: dict[str, float] = {}
    curve: Curve | None = None
    logit_curve: LogitCurve | None = None
    curriculum: Curriculum | None = None
    by_difficulty: list[Bin] = []
    """Quintiles of H(weak), easiest first."""
    by_change: list[Bin] = []
    """Samples whose entropy fell, and those whose entropy rose."""

    @property
    def key(self) -> str:
        """Its name on a page: the arm, with its model where there are several."""
        return f"{self.model} / {self.arm}" if self.model else self.arm


class Cloud(_Part):
    """H(weak) against H(strong) of some samples, with their weights."""

    model: str
    weak: list[float]
    strong: list[float]
    weight: list[float]
    """Probability times the number of samples: 1 is an even draw."""
    samples: int
    """How many there are in all."""


class Answer(_Part):
    """One arm's answer to a problem."""

    arm: int
    """Its place among the arms of the findings."""
    seed: int | None
    text: str
    extracted: str | None
    correct: bool
    reason: str
    cut: bool
    """Whether it reached the longest allowed."""
    hidden: int
    """Characters of it that are not shown."""


class Problem(_Part):
    """A question, and what the arms answered."""

    task: str
    id: str
    prompt: str
    hidden: int
    reference: str
    answers: list[Answer]


class Curation(_Part):
    """What curation kept, and why not the rest."""

    records: int
    kept: int
    rejected: dict[str, int]
    by_source: dict[str, dict[str, int]]
    decontaminated_against: list[str]


class Missing(_Part):
    """A step without a result."""

    label: str
    state: Literal["not begun", "unfinished", "failed"]
    detail: str
    arms: list[str]
    """Whose numbers lack it; empty where all do."""


class Findings(_Part):
    """Everything that the report of a study shows."""

    study: Study
    tasks: list[Task]
    arms: list[ArmResult]
    comparisons: int
    """Arms that are compared with the reference: what the headline's p is corrected for."""
    curation: Curation | None = None
    first_phases: list[Curve] = []
    clouds: list[Cloud] = []
    problems: list[Problem] = []
    """Not in ``results.json``."""
    answered: int = 0
    """Problems of all tasks, of which `problems` shows some."""
    versions: dict[str, list[str]] = {}
    commands: list[str] = []
    missing: list[Missing] = []

    @property
    def reference(self) -> str | None:
        """The arm that differences are taken from."""
        return self.study.compare_with

    def of_model(self, model: str) -> list[ArmResult]:
        """Return the arms of one base model."""
        return [arm for arm in self.arms if arm.model == model]

    @property
    def models(self) -> list[str]:
        """Names of the base models, in order."""
        return list(dict.fromkeys(arm.model for arm in self.arms))
