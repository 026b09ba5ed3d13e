"""A raw DeepSpeed engine over the pair: its configuration, its optimizer, and its full weights."""

from __future__ import annotations

from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from wmss_cli.core import recomputation
from wmss_cli.core.config import TrainConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.models.causal import device, dtype_of
from wmss_cli.models.compiled import compile_blocks
from wmss_cli.models.heads import head_of
from wmss_cli.models.kernels import fuse_layers
from wmss_cli.models.packed import blocks_of
from wmss_cli.train import buckets
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
        The pair on the CPU, in the data type of the run.
    config : TrainConfig
        Optimizer, clipping, `zero_stage`.
    load_universal : bool
        Whether a universal checkpoint will be loaded (from another world size).

    Raises
    ------
    ConfigError
        If DeepSpeed refuses a value of the section `deepspeed`.
    """
    place(pair, config)
    for model in (pair.strong, pair.weak):
        if model is not None:
            if config.compile == "blocks":
                said = compile_blocks(model)
            else:
                said = fuse_layers(model, config.kernels)
            if dist.get_rank() == 0:
                print(said, flush=True)  # noqa: T201 - goes to the log of the stage
    optimizer = torch.optim.AdamW(
        parameter_groups(pair, config.weight_decay),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.eps,
        fused=True,
    )
    engine, *_ = deepspeed.initialize(
        model=pair,
        optimizer=optimizer,
        config=deepspeed_config(pair, config, load_universal),
        dist_init_required=False,
    )
    if dist.get_world_size() == 1 and config.zero_stage == 0:
        # There is no one to average with, and DeepSpeed would copy all gradients to average them.
        engine.enable_backward_allreduce = False
    return engine


def place(pair: WeakStrongPair, config: TrainConfig) -> None:
    """Put a pair on its device and mark the blocks to recompute (:func:`mark_recomputed`)."""
    mark_recomputed(pair, config.gradient_checkpointing)
    pair.to(device())


def mark_recomputed(pair: WeakStrongPair, mode: str) -> None:
    """Let the backward pass recompute some blocks of both models.

    Parameters
    ----------
    pair : WeakStrongPair
        A pair that is not in an engine.
    mode : str
        As in `gradient_checkpointing`, but not auto.

    Raises
    ------
    ConfigError
        If transformers cannot recompute this model by blocks, and only some should be.
    """
    n = recomputation.every(mode)
    for model in (pair.strong, pair.weak):
        if model is not None and n:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            blocks = blocks_of(model)
            if n > 1 and not blocks:
                raise ConfigError(
                    f"gradient_checkpointing {mode}: the blocks of {type(model).__name__} cannot "
                    "be told apart; use full or none"
                )
            for i, block in enumerate(blocks, start=1):
                block.gradient_checkpointing = i % n == 0


def parameter_groups(pair: WeakStrongPair, weight_decay: float) -> list[dict[str, Any]]:
    """Return what the optimizer trains: weights that decay, and norms and biases, which do not."""
    trained = [p for p in pair.parameters() if p.requires_grad]
    exempt = _without_decay(pair)
    groups = [
        {"params": [p for p in trained if p not in exempt], "weight_decay": weight_decay},
        {"params": [p for p in trained if p in exempt], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _without_decay(pair: WeakStrongPair) -> set[nn.Parameter]:
    """Return norms and biases, some of which have a row for each head or each expert."""
    found = set()
    for module in pair.modules():
        is_norm = "norm" in type(module).__name__.lower()
        for name, parameter in module.named_parameters(recurse=False):
            marked = getattr(parameter, "_no_weight_decay", False)
            if is_norm or marked or parameter.ndim < 2 or name.endswith("bias"):
                found.add(parameter)
    return found


def deepspeed_config(
    pair: WeakStrongPair, config: TrainConfig, load_universal: bool = False
) -> dict[str, Any]:
    """Return DeepSpeed's own configuration.

    Parameters
    ----------
    pair : WeakStrongPair
        The pair, whole on each rank: its sizes decide how much is gathered and reduced at a time.
    config : TrainConfig
        Its section `deepspeed` overrides what is chosen here.
    load_universal : bool
        Whether a universal checkpoint will be loaded (from another world size).

    Raises
    ------
    ConfigError
        If DeepSpeed refuses a value of the section `deepspeed`.
    """
    narrow = dtype_of(config.precision) == torch.bfloat16
    zero = _zero_section(pair, config)
    own = {key: value for key, value in config.deepspeed.items() if key != "zero_optimization"}
    return {
        # A packed micro-batch is one row. The number in a step varies, so the loop sets the step
        # boundary and the pair divides the loss.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": narrow},
        # In bf16 the sum over many micro-batches would lose the last ones.
        "data_types": {"grad_accum_dtype": "fp32" if narrow else None},
        "zero_optimization": zero,
        # With an offloaded optimizer, DeepSpeed would require its own Adam, which it compiles on
        # each machine; torch's fused AdamW runs on a CPU, too.
        "zero_force_ds_cpu_optimizer": False,
        "checkpoint": {"load_universal": load_universal},
        "steps_per_print": 10**9,
        **own,
    }


def _zero_section(pair: WeakStrongPair, config: TrainConfig) -> dict[str, Any]:
    own = config.deepspeed.get("zero_optimization", {})
    zero = {"stage": config.zero_stage, **_zero_sizes(pair, config.zero_stage, own), **own}
    try:
        parsed = DeepSpeedZeroConfig(**zero)
    except ValueError as error:
        # Pydantic puts the key on the second line, the reason on the third.
        said = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise ConfigError(f"deepspeed.zero_optimization: {said}") from None
    largest = _largest(pair)
    if config.zero_stage == 2 and parsed.overlap_comm and parsed.reduce_bucket_size < largest:
        raise ConfigError(
            f"deepspeed.zero_optimization.reduce_bucket_size {parsed.reduce_bucket_size} is less "
            f"than the {largest} elements of the largest weight, whose gradient DeepSpeed would "
            "then free while it is still read; make it larger, or set overlap_comm false"
        )
    return zero


def _zero_sizes(pair: WeakStrongPair, zero_stage: int, own: dict[str, Any]) -> dict[str, Any]:
    """Return how much is gathered and reduced at a time (see :mod:`wmss_cli.train.buckets`)."""
    models = [model for model in (pair.strong, pair.weak) if model is not None]
    if zero_stage == 2:
        size = buckets.reduce_bucket(zero_stage, _largest(pair))
        return {"overlap_comm": True, "reduce_bucket_size": size}
    if zero_stage == 3:
        blocks = [
            sum(p.numel() for p in block.parameters())
            for model in models
            for block in blocks_of(model)
        ]
        prefetch = buckets.prefetch_bucket(max(blocks, default=0))
        prefetch = own.get("stage3_prefetch_bucket_size", prefetch)
        heads = sum(head_of(model).weight.numel() for model in models)
        reuse = own.get("stage3_max_reuse_distance", buckets.REUSE)
        return {
            "stage3_prefetch_bucket_size": prefetch,
            "stage3_max_live_parameters": buckets.live_parameters(heads, prefetch, reuse),
        }
    return {}


def _largest(pair: WeakStrongPair) -> int:
    """Return the number of elements of the largest trained weight."""
    return max(p.numel() for p in pair.parameters() if p.requires_grad)


def set_learning_rate(engine: DeepSpeedEngine, value: float) -> None:
    """Set the learning rate of the next optimizer step."""
    for group in engine.optimizer.param_groups:
        group["lr"] = value


def gradient_norm(engine: DeepSpeedEngine) -> float:
    """Return the norm of the global gradient before clipping, for the step just taken.

    At ZeRO 0 in fp32 the engine does not store it, so there this must be called between the last
    ``backward`` and ``step``.
    """
    if engine.zero_optimization_stage() > 0:
        return float(engine.get_global_grad_norm())
    grads = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(grads))


def full_state_dict(model: PreTrainedModel, is_first: bool) -> dict[str, Tensor]:
    """Return the full weights on the CPU of the first rank, and nothing on the others.

    All ranks must call this: under ZeRO-3 the weights are gathered, one at a time.

    Parameters
    ----------
    model : PreTrainedModel
        A model of the pair; its weights may be sharded.
    is_first : bool
        Whether this rank keeps the weights.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            if is_first:
                state[name] = parameter.detach().cpu().clone()
    if is_first:
        persistent = (
            model.state_dict().keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
        )
        buffers = dict(model.named_buffers())
        state |= {name: buffers[name].detach().cpu().clone() for name in sorted(persistent)}
    return state
