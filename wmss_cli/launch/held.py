"""What the ranks of a training hold and pass at a time: its section with numbers for auto."""

from __future__ import annotations

from typing import TypeVar

from wmss_cli.core.config import JointConfig, SftConfig
from wmss_cli.launch.costs import second_model
from wmss_cli.launch.forecast_inputs import Gpus
from wmss_cli.launch.workload import Workload
from wmss_cli.models.shape import ModelShape
from wmss_cli.train.fitting import fitted, is_open, trained_by
from wmss_cli.train.memory import Trained

Training = TypeVar("Training", bound=SftConfig | JointConfig)


def decided(config: Training, shape: ModelShape, gpus: Gpus, work: Workload) -> Training:
    """Return a section with what a job takes where it says auto.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As it is configured.
    shape : ModelShape
        Of its models: a pair has one shape.
    gpus : Gpus
        Of its job.
    work : Workload
        The samples.
    """
    if not is_open(config):
        return config
    step = round(config.global_batch_size * work.mean_tokens)
    held = trained(config, shape)
    return fitted(config, held, gpus.count, gpus.usable, work.longest, step)


def trained(config: SftConfig | JointConfig, shape: ModelShape) -> Trained:
    """Return the models of a training: a pair has one shape.

    Parameters
    ----------
    config : SftConfig or JointConfig
        As it is trained. Precision `auto` counts as bf16.
    shape : ModelShape
        Of its models.
    """
    second = second_model(config)
    weak = None if second is None else shape
    return trained_by(config, shape, weak, second == "frozen", config.precision != "fp32")


def pass_tokens(config: SftConfig | JointConfig, work: Workload) -> int:
    """Return the tokens of the largest pass of a section that is decided: or the longest sample.

    Parameters
    ----------
    config : SftConfig or JointConfig
        Of :func:`decided`.
    work : Workload
        The samples.
    """
    return max(config.pass_tokens, work.longest)
