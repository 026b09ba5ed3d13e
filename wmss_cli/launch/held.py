"""What the ranks of a training hold and pass at a time, read from its section in one place."""

from __future__ import annotations

from wmss_cli.core.config import JointConfig, SftConfig, TrainConfig
from wmss_cli.launch.costs import second_model
from wmss_cli.launch.forecast_inputs import Gpus
from wmss_cli.models.shape import ModelShape
from wmss_cli.train.memory import Trained, largest_micro_batch

MOST_TOKENS = 2**20
"""Where the search for the largest micro-batch ends."""


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
    bf16 = config.precision != "fp32"
    return Trained(shape, weak, second == "frozen", bf16, config.gradient_checkpointing)


def pass_tokens(config: TrainConfig, held: Trained, gpus: Gpus, longest: int) -> int:
    """Return the tokens of the largest pass: as configured, what fits, or the longest sample.

    Parameters
    ----------
    config : TrainConfig
        Of the training.
    held : Trained
        Its models.
    gpus : Gpus
        Of its job.
    longest : int
        Tokens of the longest sample.
    """
    given: int | str = config.micro_batch_tokens
    if isinstance(given, str):
        given = largest_micro_batch(held, config.zero_stage, gpus.count, gpus.usable, MOST_TOKENS)
    return max(given, longest)
