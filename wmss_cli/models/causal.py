"""Load and save a causal language model."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.allocator import keep_freed_memory
from wmss_cli.models.attention import attention_dropout, choose_flash
from wmss_cli.models.folder import check_full_precision
from wmss_cli.models.forms import choose_form
from wmss_cli.models.matching import (
    check_match,
    check_tied,
    model_class,
    read_model_config,
    refusals,
)
from wmss_cli.models.packed import backbone, has_layers_before_head
from wmss_cli.models.placement import stay_near
from wmss_cli.models.weights import stored_tensors

Precision = Literal["auto", "bf16", "fp32"]


def device() -> torch.device:
    """Return this process's device: the GPU of its local rank, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    # If Slurm shows each process only one GPU, that GPU has index 0.
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
    """Load a causal language model onto the CPU.

    Raises
    ------
    ConfigError
        If transformers cannot load it, or weights are missing, left over or of a different shape.
    IntegrityError
        If a file of weights is cut or damaged.
    """
    stored_tensors(folder)
    with refusals(folder):
        config = read_model_config(folder)
        model, report = model_class(config).from_pretrained(
            folder,
            config=config,
            dtype=dtype_of(precision),
            output_loading_info=True,
            # They are reported later, with their shapes, instead of raised here without them.
            ignore_mismatched_sizes=True,
        )
    check_match(folder, report)
    check_tied(folder, model)
    return cast(PreTrainedModel, model)


def load_packed(folder: Path, precision: Precision) -> PreTrainedModel:
    """Load a model onto the CPU, ready for :func:`~wmss_cli.models.packed.hidden_states`.

    It packs documents if it can keep them apart, else it reads each in a row of its own (see
    :func:`~wmss_cli.models.packed.packs`).

    Raises
    ------
    ConfigError
        If transformers cannot load it, its weights are quantised, or it is not a causal language
        model (see :func:`~wmss_cli.models.forms.choose_form`).
    """
    check_full_precision(folder)
    model = load_model(folder, precision)
    choose_form(model, device())
    said = choose_flash(device(), attention_dropout(model))
    if said is not None and os.environ.get("RANK", "0") == "0":
        print(said, flush=True)  # noqa: T201 - goes to the log of the stage
    _freeze_other_parts(model)
    return model


def _freeze_other_parts(model: PreTrainedModel) -> None:
    """Freeze what text does not pass through, such as the vision tower of a multimodal model."""
    if has_layers_before_head(model):
        return
    head = cast(torch.nn.Module, model.get_output_embeddings())
    text = {id(p) for part in (backbone(model), head) for p in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in text:
            parameter.requires_grad_(False)


def load_for_inference(folder: Path, precision: Precision, packed: bool = False) -> PreTrainedModel:
    """Load a model onto this process's device, in evaluation mode.

    See :func:`load_packed` if `packed`, else :func:`load_model`.
    """
    keep_freed_memory()
    stay_near(device())
    model = load_packed(folder, precision) if packed else load_model(folder, precision)
    torch.nn.Module.to(model, device())
    model.eval()
    return model


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
        The model whose configuration is saved.
    state_dict : dict of str to Tensor
        The full weights, on the CPU; tied weights once.
    tokenizer : PreTrainedTokenizerBase
        The tokenizer, with its chat template.
    stop_token_ids : list of int
        The tokens that end generation.
    folder : Path
        The folder to create.
    """
    generation = GenerationConfig.from_model_config(model.config)
    if model.generation_config is not None:
        generation = model.generation_config
    if not generation.do_sample:
        # Remains of sampling, which a greedy configuration must not contain when it is saved.
        generation.temperature = generation.top_p = generation.top_k = None
    generation.eos_token_id = stop_token_ids
    generation.pad_token_id = tokenizer.pad_token_id
    model.generation_config = generation
    model.save_pretrained(folder, state_dict=state_dict)
    tokenizer.save_pretrained(folder)
    # For multimodal models: the image processor, which other engines ask for.
    if model.name_or_path:
        for path in Path(model.name_or_path).glob("*processor_config.json"):
            shutil.copy(path, folder)
