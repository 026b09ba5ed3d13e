"""How long a training takes: matrix products, waiting ranks, communication, checkpoints.

Simple arithmetic, which ``docs/plan.md`` states; nothing here was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from wmss_cli.core.config import JointConfig, SftConfig, TrainConfig
from wmss_cli.data.packing import pack
from wmss_cli.preflight.costs import Work
from wmss_cli.preflight.inputs import GB, Gpus, Rates
from wmss_cli.preflight.memory import pass_tokens
from wmss_cli.preflight.workload import Workload
from wmss_cli.train.activations import FP32
from wmss_cli.train.memory import Trained, checkpoint_bytes, export_bytes

REACHED = 0.8
"""Share of a link's data-sheet bandwidth that collectives reach."""
HIDDEN = 0.7
"""Share of a pass's communication that its products overlap, if these last as long."""
COPY_GB_PER_S = 10.0
"""From a GPU to the memory of its node, while a checkpoint is written."""

_STEPS = 12


@dataclass(frozen=True)
class Packing:
    """How the samples of a step fill the passes of all ranks.

    Attributes
    ----------
    passes : float
        Mean passes of a rank in one step.
    balance : float
        Tokens, divided by what there would be if all ranks had as many as the fullest one of each
        pass: the others wait for it.
    """

    passes: float
    balance: float


@dataclass(frozen=True)
class TrainingTime:
    """Where the time of a training goes, in seconds.

    Attributes
    ----------
    packing : Packing
        How its passes are packed.
    computing : float
        Products, including recomputation, if all ranks had the same amount to do.
    waiting : float
        Waiting for the fullest rank of each pass.
    communication : float
        Communication that nothing overlaps.
    saving : float
        Copies of checkpoints, and writing the models at the end.
    mfu : float
        The needed FLOPs, divided by the time of all steps and the GPUs' rate.
    """

    packing: Packing
    computing: float
    waiting: float
    communication: float
    saving: float
    mfu: float

    @property
    def steps(self) -> float:
        """Time of all steps, without saving."""
        return self.computing + self.waiting + self.communication

    @property
    def total(self) -> float:
        """Time of the whole training."""
        return self.steps + self.saving


def packing(work: Workload, batch: int, tokens: int, ranks: int) -> Packing:
    """Pack some steps as training does, and return their means.

    Parameters
    ----------
    work : Workload
        The workload that samples are drawn from.
    batch : int
        Samples of a step.
    tokens : int
        Most tokens of a pass.
    ranks : int
        Ranks that run their passes at the same time.
    """
    part = min(batch, len(work.drawn))
    found = _packing(work.drawn, part, tokens, ranks)
    # Only a part of a very large step is packed.
    return Packing(found.passes * batch / part, found.balance)


@lru_cache(maxsize=256)
def _packing(drawn: tuple[int, ...], batch: int, tokens: int, ranks: int) -> Packing:
    steps = [drawn[i : i + batch] for i in range(0, len(drawn) - batch + 1, batch)][:_STEPS]
    passes, held, filled = 0, 0, 0
    for lengths in steps:
        bins = pack(lengths, tokens, ranks)
        passes += len(bins) // ranks
        # Each pass begins with its fullest bin.
        held += ranks * sum(sum(lengths[i] for i in first) for first in bins[::ranks])
        filled += sum(lengths)
    return Packing(passes / len(steps), filled / held)


def training_time(
    config: SftConfig | JointConfig,
    held: Trained,
    needed: Work,
    gpus: Gpus,
    work: Workload,
    rates: Rates,
) -> TrainingTime:
    """Return how long a training takes.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As :func:`wmss_cli.preflight.memory.decided` returns it.
    held : Trained
        Its models.
    needed : Work
        FLOPs that they need.
    gpus : Gpus
        GPUs of its job.
    work : Workload
        The samples.
    rates : Rates
        With `mfu`, a step takes as long as that says, and its parts are not distinguished.
    """
    tokens = pass_tokens(config, work)
    packed = packing(work, config.global_batch_size, tokens, gpus.count)
    peak = gpus.count * gpus.tflops * 1e12
    if rates.mfu is None:
        computing = (needed.flops + needed.recomputed_flops) / (rates.computing * peak)
        waiting = computing / packed.balance - computing
        count = needed.steps * packed.passes
        each = pass_seconds(held, config.zero_stage, gpus)
        hidden = min(HIDDEN * each, computing / count)
        communication = count * (each - hidden)
        communication += needed.steps * step_seconds(held, config.zero_stage, gpus)
    else:
        computing, waiting, communication = needed.flops / (rates.mfu * peak), 0.0, 0.0
    steps = computing + waiting + communication
    saving = saving_seconds(config, held, gpus, needed.steps, steps)
    return TrainingTime(
        packed, computing, waiting, communication, saving, needed.flops / (steps * peak)
    )


def pass_seconds(held: Trained, zero_stage: int, gpus: Gpus) -> float:
    """Return the seconds that the ranks need to exchange data in each pass.

    At ZeRO 2 all gradients are reduced to all ranks: twice a share each. At ZeRO 3 the weights are
    gathered for the forward pass, trained weights again for the backward pass, and gradients are
    reduced to the rank that keeps them.
    """
    learning, frozen = held.trained_parameters, held.parameters - held.trained_parameters
    elements = {0: 0, 1: 0, 2: 2 * learning, 3: 3 * learning + frozen}[zero_stage]
    return _seconds(held.width * elements, gpus)


def step_seconds(held: Trained, zero_stage: int, gpus: Gpus) -> float:
    """Return the seconds that the ranks need to exchange data once a step, after the last pass.

    Below ZeRO 2 all gradients are reduced; at ZeRO 1 and 2 the new weights are gathered.
    """
    if zero_stage == 0:
        return _seconds(2 * FP32 * held.trained_parameters, gpus)
    elements = {1: 3, 2: 1, 3: 0}[zero_stage] * held.trained_parameters
    return _seconds(held.width * elements, gpus)


def _seconds(size: int, gpus: Gpus) -> float:
    """Return how long a collective over all ranks takes that sends that many bytes from each."""
    # Rings pass through a node once, whatever the number of its GPUs.
    slowest = gpus.link_gb_per_s
    if gpus.nodes > 1:
        slowest = min(slowest, gpus.network_gb_per_s)
    return size * (gpus.count - 1) / gpus.count / (REACHED * slowest * GB)


def saving_seconds(
    config: TrainConfig, held: Trained, gpus: Gpus, steps: int, seconds: float
) -> float:
    """Return how long a training waits for its checkpoints, and writes its models at the end.

    It continues while a checkpoint is written, unless the next one is due before that ends.

    Parameters
    ----------
    config : TrainConfig
        Options of the training.
    held : Trained
        Its models.
    gpus : Gpus
        GPUs of its job.
    steps : int
        Number of all steps.
    seconds : float
        Time that they take.
    """
    size = checkpoint_bytes(held, config.zero_stage)
    interval = save_interval(config, seconds / steps)
    copied = size / gpus.count / (COPY_GB_PER_S * GB)
    written = size / (gpus.disk_gb_per_s * GB)
    # The last step is saved, too.
    saves = max(1, round(seconds / interval))
    models = export_bytes(held, len(config.epochs_kept)) / (gpus.disk_gb_per_s * GB)
    return saves * (copied + max(0.0, written - interval)) + models


def save_interval(config: TrainConfig, step_seconds: float) -> float:
    """Return the seconds from one checkpoint to the next."""
    intervals = []
    if config.save_every_min is not None:
        # A checkpoint is written at the end of a step.
        intervals.append(max(60 * config.save_every_min, step_seconds))
    if config.save_every_steps is not None:
        intervals.append(config.save_every_steps * step_seconds)
    return min(intervals)
