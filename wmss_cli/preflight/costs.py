"""What one piece of work costs: FLOPs and GPU-hours of a training, of scoring, of answers.

FLOPs are those that the method needs, as :mod:`wmss_cli.models.shape` counts them. Samples count
as their mean, which is exact over whole passes. Torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from wmss_cli.core.config import JointConfig, SftConfig, TrainConfig
from wmss_cli.core.recomputation import every
from wmss_cli.models.shape import TRAINING, ModelShape
from wmss_cli.preflight.inputs import Answers, Gpus
from wmss_cli.preflight.workload import Workload


@dataclass(frozen=True)
class Passes:
    """A model, and what it costs to run it once over the mean sample.

    Attributes
    ----------
    shape : ModelShape
        Shape of the model.
    samples : int
        Samples of the workload.
    tokens, completion_tokens : Fraction
        Tokens of the mean sample.
    backbone, head : Fraction
        FLOPs of a forward pass: up to the last hidden state, and of the head at the completion.
    """

    shape: ModelShape
    samples: int
    tokens: Fraction
    completion_tokens: Fraction
    backbone: Fraction
    head: Fraction

    @classmethod
    def of(cls, shape: ModelShape, work: Workload) -> Passes:
        """Count a model's forward pass over a workload."""
        documents = len(work.lengths)
        completion = Fraction(round(work.completion_tokens * documents), documents)
        return cls(
            shape=shape,
            samples=work.samples,
            tokens=Fraction(sum(work.lengths), documents),
            completion_tokens=completion,
            backbone=Fraction(shape.forward_flops(work.lengths, 0), documents),
            head=2 * completion * shape.head_parameters,
        )

    @property
    def forward(self) -> Fraction:
        """FLOPs of a whole forward pass."""
        return self.backbone + self.head


@dataclass(frozen=True)
class Work:
    """The size of one piece of work.

    Attributes
    ----------
    samples : int
        Samples that pass through the model, each counted as often as it does; in an evaluation,
        answers.
    steps : int
        Steps of the optimizer; 0 if nothing is trained.
    tokens : int
        Tokens in all samples.
    flops : int
        FLOPs that the method needs.
    recomputed_flops : int
        FLOPs that `gradient_checkpointing` adds.
    """

    samples: int
    steps: int
    tokens: int
    flops: int
    recomputed_flops: int = 0

    def gpu_hours(self, gpus: Gpus, share: float) -> float:
        """Return the GPU-hours at a share of the GPUs' peak FLOP/s, without waiting."""
        return self.flops / (share * gpus.tflops * 1e12) / 3600


def training(section: SftConfig | JointConfig, passes: Passes, rows: int) -> Work:
    """Return what a training costs.

    Parameters
    ----------
    section : SftConfig or JointConfig
        As it is trained. With `match_flops`, `epochs` is that of the joint training of equal cost.
    passes : Passes
        Passes of its models, which have one shape.
    rows : int
        Samples of one epoch: all, or the size of the active set.
    """
    samples = max(1, round(section.epochs * rows))
    if section.max_steps is not None:
        samples = min(samples, section.max_steps * section.global_batch_size)
    second = section.second_model
    if isinstance(section, SftConfig) and section.match_flops != "none":
        bought = samples * _forwards(section.match_flops) * passes.forward
        step = section.global_batch_size * _forwards(second) * passes.forward
        samples = max(1, round(bought / step)) * section.global_batch_size
    flops = Fraction(samples * _forwards(second)) * passes.forward
    stored = cached_samples(section, passes, rows)
    if stored:
        # After the first time, a sample passes only through the weak model's head.
        flops -= Fraction(max(0, samples - stored)) * passes.backbone
    again = samples * (2 if second == "cotrain" else 1) * passes.backbone
    return Work(
        samples=samples,
        steps=-(-samples // section.global_batch_size),
        tokens=round(samples * passes.tokens),
        flops=round(flops),
        recomputed_flops=round(_recomputed(section.gradient_checkpointing, passes) * again),
    )


def _recomputed(mode: str, passes: Passes) -> Fraction:
    """Return the share of the blocks that are recomputed; all, if the GPUs are unknown."""
    n = every("full" if mode == "auto" else mode)
    layers = passes.shape.layers
    return Fraction(layers // n if n else 0, layers)


def cached_samples(section: TrainConfig, passes: Passes, rows: int) -> int:
    """Return how many samples at most have their weak hidden states stored."""
    if not isinstance(section, JointConfig) or not section.cache_weak:
        return 0
    return min(rows, passes.samples)


def scoring(passes: Passes, samples: int | None = None) -> Work:
    """Return what a forward pass costs over all samples, or over some."""
    count = passes.samples if samples is None else min(samples, passes.samples)
    return Work(count, 0, round(count * passes.tokens), round(count * passes.forward))


def answering(shape: ModelShape, asked: Answers) -> Work:
    """Return what the answers of one model to all benchmarks cost.

    A token is written with the keys and values of those before it in a cache, so an answer costs a
    forward pass over prompt and answer, with the head once for each token of the answer.
    """
    answers = tokens = flops = 0
    for benchmark in asked.benchmarks:
        written = min(asked.answer_tokens, benchmark.max_new_tokens)
        count = benchmark.problems * asked.samples
        answers += count
        tokens += count * (asked.prompt_tokens + written)
        flops += count * shape.forward_flops([asked.prompt_tokens + written], written)
    return Work(answers, 0, tokens, flops)


def _forwards(second: Literal["cotrain", "frozen"] | None) -> int:
    """Return how many forward passes of one model a sample costs."""
    return TRAINING + {"cotrain": TRAINING, "frozen": 1, None: 0}[second]
