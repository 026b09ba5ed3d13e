"""The section `deepspeed`: which keys of DeepSpeed's own configuration a training accepts.

Accepted are those that shard, move or send the same numbers in another way. What decides the result
has an option of its own, so that it is part of the fingerprint. Keys that order states differently
(`round_robin_gradients`: a resume would mix up weights) or that DeepSpeed 0.19 scales wrongly
(`gradient_predivide_factor` at ZeRO 3) are left out, too. Names are checked here, without
DeepSpeed, because DeepSpeed silently accepts a misspelt name at the top level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

TOP = frozenset(
    {
        "comms_logger",
        "communication_data_type",
        "flops_profiler",
        "memory_breakdown",
        "prescale_gradients",
        "steps_per_print",
        "wall_clock_breakdown",
        "zero_optimization",
    }
)
"""Keys of the top level that are passed on."""

ZERO = frozenset(
    {
        "allgather_bucket_size",
        "allgather_partitions",
        "contiguous_gradients",
        "log_trace_cache_warnings",
        "offload_optimizer",
        "offload_param",
        "overlap_comm",
        "reduce_bucket_size",
        "reduce_scatter",
        "stage3_allgather_sequential",
        "stage3_max_live_parameters",
        "stage3_max_reuse_distance",
        "stage3_model_persistence_threshold",
        "stage3_module_granularity_threshold",
        "stage3_param_persistence_threshold",
        "stage3_prefetch_bucket_size",
        "stage3_use_all_reduce_for_fetch_params",
        "sub_group_size",
        "use_multi_rank_bucket_allreduce",
        "zero_hpz_partition_size",
    }
)
"""Keys of `zero_optimization` that are passed on."""

_LEAST_STAGE = {
    "log_trace_cache_warnings": 3,
    # At ZeRO 1 in bf16, DeepSpeed would use a different optimizer from everywhere else.
    "offload_optimizer": 2,
    "offload_param": 3,
    "overlap_comm": 2,
    "sub_group_size": 3,
    "zero_hpz_partition_size": 3,
}

_SENT_AS = ("bf16", "fp32")

OFFLOAD = {
    "offload_optimizer": frozenset({"device", "pin_memory"}),
    "offload_param": frozenset({"device", "pin_memory"}),
}
"""Their keys; `device` is none or cpu, since checkpoints from a disk were never tried."""

OWNED = {
    "activation_checkpointing": "gradient_checkpointing",
    "amp": "precision",
    "bf16": "precision",
    "bfloat16": "precision",
    "checkpoint": "save_every_steps and keep_checkpoints",
    "compile": "compile",
    "data_types": "precision",
    "fp16": "precision",
    "gradient_accumulation_steps": "global_batch_size and micro_batch_tokens",
    "gradient_clipping": "max_grad_norm",
    "managed_gradient_accumulation": "global_batch_size and micro_batch_tokens",
    "optimizer": "learning_rate, weight_decay, beta1, beta2 and eps",
    "scheduler": "learning_rate, warmup_ratio and min_lr_ratio",
    "tensorboard": "report_to",
    "torch_autocast": "precision",
    "train_batch_size": "global_batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_tokens",
    "wandb": "report_to",
    "zero_force_ds_cpu_optimizer": "deepspeed.zero_optimization.offload_optimizer alone",
    "zero_optimization.stage": "zero_stage",
}
"""What wmss sets itself, and the option to use instead."""


def check_deepspeed(section: Values, zero_stage: int) -> None:
    """Check the names of a section `deepspeed`; DeepSpeed checks their values.

    Parameters
    ----------
    section : mapping
        The section, as configured.
    zero_stage : int
        ZeRO stage of the same training.

    Raises
    ------
    ValueError
        If a key belongs to another option of wmss, is not accepted, or needs another ZeRO stage.
    """
    _check_names("", section, TOP)
    zero = _mapping("zero_optimization", section.get("zero_optimization", {}))
    _check_names("zero_optimization.", zero, ZERO)
    sent = section.get("communication_data_type")
    if sent not in (None, *_SENT_AS):
        # Small gradients would silently become zero in fp16.
        raise ValueError(
            f"deepspeed.communication_data_type is {sent!r}; use {' or '.join(_SENT_AS)}"
        )
    for name in sorted(zero):
        least = 3 if name.startswith("stage3_") else _LEAST_STAGE.get(name, 1)
        if zero_stage < least:
            raise ValueError(
                f"deepspeed.zero_optimization.{name} is for zero_stage {least} or more, and "
                f"zero_stage is {zero_stage}; change one of them"
            )
    for name, taken in OFFLOAD.items():
        offload = _mapping(f"zero_optimization.{name}", zero.get(name, {}))
        _check_names(f"zero_optimization.{name}.", offload, taken)
        if offload.get("device", "none") not in ("none", "cpu"):
            raise ValueError(
                f"deepspeed.zero_optimization.{name}.device is {offload['device']!r}; use cpu or "
                "none"
            )


def offloads(section: Values, name: str) -> bool:
    """Return whether a checked section keeps something in host memory.

    Parameters
    ----------
    section : mapping
        The section, as configured.
    name : {"offload_optimizer", "offload_param"}
        What.
    """
    found: object = section.get("zero_optimization", {}).get(name, {}).get("device", "none")
    return found == "cpu"


def _mapping(name: str, value: Any) -> Values:
    if not isinstance(value, Mapping):
        raise ValueError(f"deepspeed.{name} is {value!r}; expected a section of keys")
    return value


def _check_names(prefix: str, section: Values, taken: frozenset[str]) -> None:
    for name in sorted(section):
        place = f"{prefix}{name}"
        if place in OWNED:
            raise ValueError(f"deepspeed.{place} is set by wmss; use {OWNED[place]}")
        if name not in taken:
            raise ValueError(
                f"deepspeed.{place} is not a key that wmss passes on to DeepSpeed; it accepts "
                f"{', '.join(sorted(taken))}"
            )
