"""What a report says, as data: all that the page shows and ``results.json`` contains."""

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
    """An arm minus the reference, paired by problem and seed; shares of 1."""

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
    """Number of answers to each problem."""
    pass_at_k: dict[str, float] = {}
    majority_at_k: dict[str, float] = {}
    answers: int
    """Number of answers over all seeds."""
    cut: int
    """Number of answers that were cut at the limit, over all seeds."""
    mean_tokens: float
    gap: Gap | None = None


class Cost(_Part):
    """The cost of training one seed of an arm, starting from M0: the mean over the seeds."""

    steps: float
    tokens: float
    flops: float | None
    """None if a training did not count them."""
    device_hours: float
    """Duration of all trainings times their number of processes."""
    device: str
    """`cuda`, `cpu`, or both."""


class Curve(_Part):
    """Losses by training step, smoothed and thinned; the mean over the seeds."""

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
    """Mean loss of a group of samples."""

    name: str
    samples: int
    loss: float
    """Nats per completion token; the mean over samples, then over seeds."""


class Curriculum(_Part):
    """The curriculum of the last iteration; the mean over the seeds."""

    alpha: float
    beta: float
    gamma: float
    """The shares of the three terms in the weights."""
    samples: int
    unique: float
    """Number of different samples in the active set."""
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
    """Seeds that have an evaluation."""
    planned: int
    """Number of evaluations that were planned."""
    mean: Interval | None = None
    """Mean over all tasks of the study; None if one of them has no answers."""
    kinds: dict[str, Interval] = {}
    gap: Gap | None = None
    tasks: dict[str, Score] = {}
    epochs: dict[str, dict[str, Interval]] = {}
    """Accuracies by epoch or iteration, then by task."""
    cost: Cost | None = None
    options: dict[str, str] = {}
    """The options of its training and evaluation, by dotted keys."""
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
        """The name on the page: the arm, with its model if there are several."""
        return f"{self.model} / {self.arm}" if self.model else self.arm


class Cloud(_Part):
    """H(weak) against H(strong) of some samples, with their weights."""

    model: str
    weak: list[float]
    strong: list[float]
    weight: list[float]
    """Probability times the number of samples: 1 means an even draw."""
    samples: int
    """Number of all samples."""


class Answer(_Part):
    """One arm's answer to a problem."""

    arm: int
    """Index of the arm in the findings."""
    seed: int | None
    text: str
    extracted: str | None
    correct: bool
    reason: str
    cut: bool
    """Whether the answer was cut at the limit."""
    hidden: int
    """Number of characters that are not shown."""


class Problem(_Part):
    """A question, and what the arms answered."""

    task: str
    id: str
    prompt: str
    hidden: int
    reference: str
    answers: list[Answer]


class Curation(_Part):
    """What curation kept, and why it rejected the rest."""

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
    """Arms whose results lack it; empty if all do."""


class Findings(_Part):
    """Everything that the report of a study shows."""

    study: Study
    tasks: list[Task]
    arms: list[ArmResult]
    comparisons: int
    """Number of arms compared with the reference, which the headline's p is corrected for."""
    curation: Curation | None = None
    first_phases: list[Curve] = []
    clouds: list[Cloud] = []
    problems: list[Problem] = []
    """Shown on the page only, not in ``results.json``."""
    answered: int = 0
    """Number of problems of all tasks, some of which are in `problems`."""
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
