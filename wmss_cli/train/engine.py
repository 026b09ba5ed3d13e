"""A raw DeepSpeed engine over the pair: its configuration and its optimizer."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.runtime.engine import DeepSpeedEngine

from wmss_cli.core.config import TrainConfig
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.compiled import compile_blocks
from wmss_cli.models.kernels import fuse_layers
from wmss_cli.train.pair import WeakStrongPair


def build_engine(
    pair: WeakStrongPair,
    config: TrainConfig,
    load_universal: bool = False,
) -> DeepSpeedEngine:
    """Put the pair into one DeepSpeed engine.

    Parameters
    ----------
    pair : WeakStrongPair
        On the CPU, in the data type of the run.
    config : TrainConfig
        Optimizer, clipping, ZeRO stage.
    load_universal : bool
        Whether a universal checkpoint will be loaded (another world size).
    """
    if config.gradient_checkpointing:
        for model in (pair.strong, pair.weak):
            if model is not None:
                model.gradient_checkpointing_enable({"use_reentrant": False})
    pair.to(device())
    for model in (pair.strong, pair.weak):
        if model is not None:
            if config.compile == "blocks":
                said = compile_blocks(model)
            else:
                said = fuse_layers(model, config.kernels)
            if dist.get_rank() == 0:
                print(said, flush=True)  # noqa: T201 - goes to the log of the stage
    optimizer = torch.optim.AdamW(
        _parameter_groups(pair, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(
        model=pair,
        optimizer=optimizer,
        config=_deepspeed_config(config, load_universal),
        dist_init_required=False,
    )
    if dist.get_world_size() == 1 and config.zero_stage == 0:
        # Nobody to average with, and DeepSpeed would copy all gradients to average them.
        engine.enable_backward_allreduce = False
    return engine


def _parameter_groups(pair: WeakStrongPair, weight_decay: float) -> list[dict[str, Any]]:
    trained = [p for p in pair.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _deepspeed_config(config: TrainConfig, load_universal: bool) -> dict[str, Any]:
    narrow = dtype_of(config.precision) == torch.bfloat16
    return {
        # A packed micro-batch is one row. How many make a step differs from step to step: the
        # loop sets the boundary, and the pair divides the loss.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": narrow},
        # In bf16 the sum over many micro-batches would lose the last ones.
        "data_types": {"grad_accum_dtype": "fp32" if narrow else None},
        "zero_optimization": {"stage": config.zero_stage},
        "checkpoint": {"load_universal": load_universal},
        "steps_per_print": 10**9,
    }


def set_learning_rate(engine: DeepSpeedEngine, value: float) -> None:
    """Set the learning rate of the next optimizer step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = value


def gradient_norm(engine: DeepSpeedEngine) -> float:
    """Return the norm of the global gradient before clipping, of the step just taken.

    At ZeRO 0 in fp32 the engine keeps none, so there it must be asked for between the last
    ``backward`` and ``step``.
    """
    if engine.zero_optimization_stage() > 0:
        return float(engine.get_global_grad_norm())
    grads = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads))
