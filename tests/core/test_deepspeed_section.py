"""Which keys of DeepSpeed's configuration are handed on, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest
from deepspeed.comm import constants as comm_constants
from deepspeed.profiling import constants as profiling_constants
from deepspeed.runtime import constants
from deepspeed.runtime.zero import config as zero_config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.offload_config import (
    DeepSpeedZeroOffloadOptimizerConfig,
    DeepSpeedZeroOffloadParamConfig,
)
from pydantic import ValidationError

from wmss_cli.core.config import JointConfig, SftConfig
from wmss_cli.core.deepspeed_section import OFFLOAD, OWNED, TOP, ZERO, offloads

OFFLOADED = {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}


def names_of(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def test_every_key_that_is_taken_is_one_of_the_installed_deepspeed() -> None:
    known = {
        value
        for module in (constants, comm_constants, profiling_constants, zero_config)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    assert known >= TOP
    assert names_of(DeepSpeedZeroConfig) >= ZERO
    assert names_of(DeepSpeedZeroOffloadOptimizerConfig) >= OFFLOAD["offload_optimizer"]
    assert names_of(DeepSpeedZeroOffloadParamConfig) >= OFFLOAD["offload_param"]
    assert not OWNED.keys() & TOP


@pytest.mark.parametrize(
    ("section", "zero_stage", "said"),
    [
        ({"optimizer": {"type": "Adam"}}, 2, "use learning_rate, weight_decay, beta1"),
        ({"train_batch_size": 8}, 2, "use global_batch_size"),
        ({"zero_optimization": {"stage": 3}}, 2, "use zero_stage"),
        ({"zero_optimisation": {}}, 2, "zero_optimisation is not a key that wmss passes on"),
        ({"zero_optimization": {"overlap_com": True}}, 2, "overlap_com is not a key"),
        ({"zero_optimization": {"zero_quantized_gradients": True}}, 3, "is not a key"),
        ({"zero_optimization": True}, 2, "expected a section"),
        ({"zero_optimization": {"offload_optimizer": {"device": "nvme"}}}, 2, "use cpu or none"),
        ({"zero_optimization": {"offload_optimizer": {"path": "x"}}}, 2, "path is not a key"),
        ({"zero_optimization": {"stage3_max_live_parameters": 1}}, 2, "for zero_stage 3 or more"),
        ({"communication_data_type": "fp16"}, 2, "use bf16 or fp32"),
        # A resume would give a weight the moments of another one.
        ({"zero_optimization": {"round_robin_gradients": True}}, 2, "is not a key"),
        ({"gradient_predivide_factor": 2.0}, 3, "is not a key"),
        (OFFLOADED, 1, "for zero_stage 2 or more, and zero_stage is 1"),
    ],
)
def test_what_is_not_handed_on_is_refused_with_the_way_out(
    section: dict[str, Any], zero_stage: int, said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        SftConfig(deepspeed=section, zero_stage=zero_stage)


def test_the_section_is_not_part_of_the_identity() -> None:
    plain, offloaded = JointConfig(zero_stage=2), JointConfig(zero_stage=2, deepspeed=OFFLOADED)
    assert offloads(offloaded.deepspeed, "offload_optimizer")
    assert not offloads(plain.deepspeed, "offload_optimizer")
    assert offloaded.identity() == plain.identity()
