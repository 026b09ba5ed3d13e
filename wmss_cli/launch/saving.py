"""How long before its limit a training job is told to save, from the size of its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import JointConfig, SftConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.launch import costs
from wmss_cli.launch.profile import EARLY_S, USUAL_LEAD_S, Profile
from wmss_cli.models.shape import ModelShape
from wmss_cli.train.memory import Trained, checkpoint_bytes

_STEP_S = 60
_SECTIONS: Mapping[str, type[SftConfig | JointConfig]] = {
    "sft": SftConfig,
    "joint_train": JointConfig,
}


@dataclass(frozen=True)
class Lead:
    """A `signal_lead_s` that the profile leaves open.

    Attributes
    ----------
    seconds : int
        Before the limit.
    unknown : str or None
        Why it is not the checkpoint's but the usual one; None where it is.
    """

    seconds: int
    unknown: str | None = None


USUAL = Lead(USUAL_LEAD_S)


def lead_seconds(checkpoint: int, disk_gb_per_s: float) -> int:
    """Return the `signal_lead_s` for a checkpoint of so many bytes.

    It has room for the rest of a step, for two checkpoints (the one that is being written when
    the signal comes, and the last), and for Slurm, which may be a minute early.

    Parameters
    ----------
    checkpoint : int
        Bytes that all ranks write together.
    disk_gb_per_s : float
        Of the profile: what all nodes write together.
    """
    writing = math.ceil(2 * checkpoint / (disk_gb_per_s * 1e9))
    return max(USUAL_LEAD_S, EARLY_S + _STEP_S + writing)


def training_lead(job: Job, jobs: Mapping[str, Job], profile: Profile) -> Lead:
    """Return the lead of a job, for a profile that leaves it open.

    Parameters
    ----------
    job : Job
        What the Slurm job runs; if it is no training, the lead is the usual one.
    jobs : mapping of str to Job
        All jobs of the plan by their `out`: models that are not there yet have the shape of those
        that they begin from.
    profile : Profile
        Says how fast the disk is.
    """
    section = _SECTIONS.get(job.stage)
    if section is None or "strong" not in job.inputs:
        return USUAL
    config = section.model_validate(job.config)
    on_gpu = profile.train.gpus_per_node > 0
    bf16 = config.precision == "bf16" or (config.precision == "auto" and on_gpu)
    try:
        strong = _shape(job.inputs["strong"], jobs)
        # A frozen one is no part of the checkpoint.
        cotrains = costs.second_model(config) == "cotrain"
        weak = _shape(job.inputs["weak"], jobs) if cotrains else None
    except ConfigError as error:
        return Lead(USUAL_LEAD_S, str(error))
    size = checkpoint_bytes(Trained(strong, weak, bf16=bf16), config.zero_stage)
    return Lead(lead_seconds(size, profile.disk_gb_per_s))


def _shape(model: str, jobs: Mapping[str, Job]) -> ModelShape:
    """Return the shape of a model: training and extrapolation do not change it."""
    path = Path(model)
    maker = next((jobs[str(p)] for p in (path, *path.parents) if str(p) in jobs), None)
    if maker is None:
        return ModelShape.of_folder(path)
    role = "weak" if path.name == "weak" else "strong"
    if role not in maker.inputs:
        raise ConfigError(f"{model}: is made by {maker.stage}, and is not there yet")
    return _shape(maker.inputs[role], jobs)
