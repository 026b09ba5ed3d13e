"""What one step of a plan costs: GPU-hours, and hours by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wmss_cli.core.config import AnalyzeConfig, CurateConfig, CurriculumConfig
from wmss_cli.preflight import costs
from wmss_cli.preflight.costs import Passes, Work
from wmss_cli.preflight.inputs import Answers, Gpus, Rates
from wmss_cli.preflight.memory import decided, trained
from wmss_cli.preflight.training_time import training_time
from wmss_cli.preflight.workload import Workload
from wmss_cli.results.study import StudyRun
from wmss_cli.stages.plan import Step, training_of

Kind = Literal["training", "scoring", "evaluation", "logits", "cpu"]
KINDS: dict[str, Kind] = {
    "sft": "training",
    "joint_train": "training",
    "score_entropy": "scoring",
    "eval": "evaluation",
    "analyze": "logits",
}
"""Stages that cost GPU time. The others run on CPUs."""

RECORDS_PER_SAMPLE = 6.5
"""Assumed: AM-1.4M has this many records for each sample that is kept."""
RECORDS_PER_S = 76.0
"""Records that a worker of curation checks per second, as measured (``docs/performance.md``)."""
TOKENS_PER_S = 300_000.0
"""Assumed for the process that tokenizes."""


class StepPrice(BaseModel):
    """One step of the study."""

    model_config = ConfigDict(frozen=True)

    label: str
    """Label in the plan."""
    stage: str
    kind: Kind
    model: str
    """Name of the base model; empty if there is only one."""
    arms: list[str]
    """Arms that need it."""
    seeds: list[int]
    """Seeds that need it; empty if it does not depend on a seed."""
    samples: int
    """Samples that pass through the model; in an evaluation, answers."""
    steps: int
    """Steps of the optimizer."""
    tokens: int
    flops: int
    recomputed_flops: int
    gpu_hours: float
    hours: float
    """Hours by the clock, from its start to its end."""


@dataclass(frozen=True)
class Prices:
    """Rates and sizes that steps are priced with.

    Attributes
    ----------
    passes : mapping of str to Passes
        Passes of each base model, by name.
    work : Workload
        The samples.
    answers : Answers
        What evaluation asks for.
    gpus : Gpus
        GPUs of the training jobs; the other stages use the same kind.
    rates : Rates
        Rates that the GPUs reach.
    """

    passes: Mapping[str, Passes]
    work: Workload
    answers: Answers
    gpus: Gpus
    rates: Rates

    def of(self, step: Step, model: str, users: Sequence[StudyRun], rows: int) -> StepPrice:
        """Price a step.

        Parameters
        ----------
        step : Step
            A step of the plan.
        model : str
            Its base model, by name.
        users : sequence of StudyRun
            Runs that need it.
        rows : int
            Samples that it is trained on in an epoch; meaningless for other steps.
        """
        work, gpu_hours, hours = self._cost(step, self.passes[model], rows)
        return StepPrice(
            label=step.label,
            stage=step.job.stage,
            kind=KINDS.get(step.job.stage, "cpu"),
            model=model,
            arms=list(dict.fromkeys(run.arm for run in users)),
            seeds=list(dict.fromkeys(run.seed for run in users if run.seed is not None)),
            samples=work.samples,
            steps=work.steps,
            tokens=work.tokens,
            flops=work.flops,
            recomputed_flops=work.recomputed_flops,
            gpu_hours=gpu_hours,
            hours=hours,
        )

    def _cost(self, step: Step, passes: Passes, rows: int) -> tuple[Work, float, float]:
        """Return what is computed, the GPU-hours, and the hours by the clock."""
        job = step.job
        section = training_of(job)
        if section is not None:
            section = decided(section, passes.shape, self.gpus, self.work)
            work = costs.training(section, passes, rows)
            held = trained(section, passes.shape)
            time = training_time(section, held, work, self.gpus, self.work, self.rates)
            return work, time.total / 3600 * self.gpus.count, time.total / 3600
        if job.stage in ("score_entropy", "eval"):
            scored = job.stage == "score_entropy"
            work = costs.scoring(passes) if scored else costs.answering(passes.shape, self.answers)
            share = self.rates.forward if scored else self.rates.generation
            gpu_hours = work.gpu_hours(self.gpus, share)
            return work, gpu_hours, gpu_hours * self._rounds(job.config["shards"])
        if job.stage == "analyze":
            samples = AnalyzeConfig.model_validate(job.config).samples
            work = costs.scoring(passes, samples)
            gpu_hours = work.gpu_hours(self.gpus, self.rates.forward)
            return work, gpu_hours, gpu_hours
        return NOTHING, 0.0, self._cpu_hours(step)

    def _rounds(self, shards: int | None) -> float:
        """Return how long equal shards take together, by the time of one process for all."""
        if shards is None:
            # One job if Slurm runs them; on one machine, a process for each GPU.
            shards = 1 if self.gpus.shards_at_once else self.gpus.count
        at_once = min(shards, self.gpus.shards_at_once or self.gpus.count)
        return -(-shards // at_once) / shards

    def _cpu_hours(self, step: Step) -> float:
        if step.job.stage == "curate":
            section = CurateConfig.model_validate(step.job.config)
            records = round(self.work.samples * RECORDS_PER_SAMPLE)
            records = min(records, section.limit or records)
            seconds = records / RECORDS_PER_S / section.workers
            return seconds / 3600 * self._rounds(section.shards or 1)
        if step.job.stage == "tokenize":
            return self.work.samples * self.work.mean_tokens / TOKENS_PER_S / 3600
        # The draw, weight extrapolation and the report take minutes.
        return 0.0


NOTHING = Work(0, 0, 0, 0)


def drawn_rows(step: Step, steps: Sequence[Step], samples: int) -> int:
    """Return the samples of an epoch: all, or the size of the active set that is drawn."""
    drawn = step.job.inputs.get("active", step.job.inputs.get("matched"))
    if drawn is None:
        return samples
    (source,) = (one.job for one in steps if one.job.out == drawn)
    multiplier = CurriculumConfig.model_validate(source.config).multiplier
    return max(1, round(multiplier * samples))
