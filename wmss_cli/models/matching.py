"""Refuse weights that do not match their model, before random ones replace them.

transformers initialises whatever a checkpoint lacks, and only logs it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import reason_of
from wmss_cli.models.weight_shapes import is_harmless, mismatch
from wmss_cli.models.weights import Stored, stored_tensors

_ROWS = 4096
"""Number of rows of a head that are compared at a time."""

_ERRORS = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    # A library that reads quantised weights is missing.
    ImportError,
    # Damaged files.
    SafetensorError,
    EOFError,
    UnpicklingError,
    struct.error,
    # A config.json whose values do not fit each other.
    StrictDataclassError,
)


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Turn any error of transformers while it reads a model into one line.

    Raises
    ------
    ConfigError
        With the folder and the first line of the reason.
    """
    try:
        yield
    except _ERRORS as error:
        raise ConfigError(f"{folder}: transformers cannot load it ({reason_of(error)})") from None


def read_model_config(folder: Path) -> PreTrainedConfig:
    """Read the configuration of a model; code that comes with it is never run."""
    config: PreTrainedConfig = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config


def model_class(config: PreTrainedConfig) -> Any:
    """Return the class that a model was saved as, so that it is saved as the same class again.

    A multimodal model is loaded as a whole if its configuration names such a class; otherwise the
    class is the causal language model of its type.

    Raises
    ------
    KeyError
        If transformers knows no causal language model of its type.
    """
    for name in config.architectures or ():
        kind = getattr(transformers, name, None)
        if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
            continue
        if kind.can_generate() and not config.is_encoder_decoder:
            return kind
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def check_match(folder: Path, report: Mapping[str, Any]) -> None:
    """Refuse a model with weights that are missing, left over, or have another shape.

    Parameters
    ----------
    folder : Path
        The folder of the model, for the message.
    report : mapping
        The result of ``from_pretrained`` with ``output_loading_info``, called with
        ``ignore_mismatched_sizes``, so that wrong shapes are reported and not raised.

    Raises
    ------
    ConfigError
        With the first names of each kind, how many there are, and what to do.
    """
    missing = sorted(report["missing_keys"])
    unexpected = sorted(key for key in report["unexpected_keys"] if not is_harmless(key))
    shapes = report["mismatched_keys"]
    errors = [str(error).splitlines()[0] for error in report["error_msgs"]]
    if missing or unexpected or shapes or errors:
        raise mismatch(folder, missing, unexpected, shapes, errors)


def check_stored(folder: Path) -> None:
    """Refuse, by the headers of the files, what :func:`check_match` refuses after loading.

    This is for engines that load models themselves. transformers loads tensors without memory.

    Raises
    ------
    ConfigError
        As in :func:`check_match`, or if transformers does not know the model.
    IntegrityError
        If a file is cut or damaged.
    """
    stored = stored_tensors(folder)
    if not stored:
        return
    dtype = torch.bfloat16
    empty = {name: torch.zeros((), dtype=dtype).expand(t.shape) for name, t in stored.items()}
    with refusals(folder):
        config = read_model_config(folder)
        loader = model_class(config)
        _, report = loader.from_pretrained(
            None,
            config=config,
            state_dict=empty,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    check_match(folder, report)
    if config.get_text_config().tie_word_embeddings:
        for head, embeddings in (getattr(loader, "_tied_weights_keys", None) or {}).items():
            if {head, embeddings} <= stored.keys() and not _equal(folder, stored, head, embeddings):
                raise _other_head(folder)


def check_tied(folder: Path, model: PreTrainedModel) -> None:
    """Refuse a head that config.json ties to the embeddings but that differs in the files.

    transformers trains the two separately, but the saved model claims that they are one.

    Raises
    ------
    ConfigError
        If they differ.
    """
    head = model.get_output_embeddings()
    tied = model.config.get_text_config().tie_word_embeddings
    if tied and head is not None and head.weight is not model.get_input_embeddings().weight:
        raise _other_head(folder)


def _other_head(folder: Path) -> ConfigError:
    return ConfigError(
        f"{folder}: config.json ties the head to the embeddings, but the weight files hold another "
        "head; set tie_word_embeddings to false there, or remove the head from the files"
    )


def _equal(folder: Path, stored: Mapping[str, Stored], first: str, second: str) -> bool:
    """Return whether two tensors are equal, with a few of their rows in memory."""
    names = (first, second)
    files: list[Any] = [safe_open(folder / stored[name].file, framework="pt") for name in names]
    slices = [file.get_slice(name) for file, name in zip(files, names, strict=True)]
    rows = stored[first].shape[0]
    return stored[first].shape == stored[second].shape and all(
        torch.equal(*(one[at : at + _ROWS] for one in slices)) for at in range(0, rows, _ROWS)
    )
