"""Load a causal model, read its logits where they predict the completion, save it."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.schema import IGNORE_INDEX

Precision = Literal["auto", "bf16", "fp32"]


def device() -> torch.device:
    """Return this process's device: the GPU of its local rank, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # Where Slurm shows each task one GPU only, that one has index 0.
    rank, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if count > 1 and rank >= count:
        raise ConfigError(
            f"local rank {rank} has no GPU: {count} are visible; lower launch.processes"
        )
    return torch.device("cuda", rank % count)


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the data type of weights and activations; ``auto`` is bf16 on a GPU, else fp32."""
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() else "fp32"
    return torch.bfloat16 if precision == "bf16" else torch.float32


def load_model(folder: Path, precision: Precision) -> PreTrainedModel:
    """Load a causal language model to the CPU.

    Raises
    ------
    ConfigError
        If transformers cannot load it.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype_of(precision))
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{folder}: transformers cannot load it ({reason})") from None
    return cast(PreTrainedModel, model)


def load_for_inference(folder: Path, precision: Precision) -> PreTrainedModel:
    """Load a model to this process's device, in evaluation mode (see :func:`load_model`)."""
    model = load_model(folder, precision)
    torch.nn.Module.to(model, device())
    model.eval()
    return model


def completion_logits(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits that predict the completion's tokens, and these tokens.

    Position t - 1 predicts token t. Only the positions that some row needs go through the
    head.

    Parameters
    ----------
    model : PreTrainedModel
        Any causal language model.
    input_ids, attention_mask, labels : Tensor
        ``[batch, length]``; labels are `ignore_index` outside the completion.

    Returns
    -------
    logits : Tensor
        ``[tokens, vocab]``, in the order of rows, then positions.
    targets : Tensor
        ``[tokens]``.
    """
    targets = labels[:, 1:]
    wanted = targets != IGNORE_INDEX
    positions = wanted.any(dim=0).nonzero().squeeze(-1)
    if not len(positions):
        # The head must run on every rank, or ZeRO-3's gathers would wait for each other.
        positions = torch.zeros(1, dtype=torch.long, device=labels.device)
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        kept = model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            logits_to_keep=positions,
        ).logits
    else:
        out = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        kept = out.logits[:, positions]
    if targets.shape[1] == 0:
        return kept[:, :0].flatten(0, 1), targets.flatten()
    mask = wanted[:, positions]
    return kept[mask], targets[:, positions][mask]


def save_model(
    model: PreTrainedModel,
    state_dict: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerBase,
    stop_token_ids: list[int],
    folder: Path,
) -> None:
    """Save weights (safetensors), configuration, tokenizer and generation configuration.

    Parameters
    ----------
    model : PreTrainedModel
        For its configuration.
    state_dict : dict of str to Tensor
        The full weights, on the CPU; tied ones once.
    tokenizer : PreTrainedTokenizerBase
        With its chat template.
    stop_token_ids : list of int
        Where generation ends.
    folder : Path
        Is created.
    """
    generation = GenerationConfig.from_model_config(model.config)
    if model.generation_config is not None:
        generation = model.generation_config
    if not generation.do_sample:
        # Left-overs of sampling, which a greedy configuration may not have when it is saved.
        generation.temperature = generation.top_p = generation.top_k = None
    generation.eos_token_id = stop_token_ids
    generation.pad_token_id = tokenizer.pad_token_id
    model.generation_config = generation
    model.save_pretrained(folder, state_dict=state_dict)
    tokenizer.save_pretrained(folder)
