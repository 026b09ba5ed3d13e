"""Find a model, and refuse what cannot work before any weights load. torch is not imported here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    StrictDataclassError,
)

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import MANIFEST, read_manifest

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def find_model(reference: str, download: bool = True) -> Path:
    """Return the folder of a model.

    Parameters
    ----------
    reference : str
        A Hugging Face folder, an artifact of wmss that contains one, or a hub id (looked up in
        the local cache, and on the hub if there is a network).
    download : bool
        Whether the hub may be used.

    Raises
    ------
    ConfigError
        If the model does not exist, or its folder has no configuration or no weights.
    """
    folder = Path(reference)
    if (folder / MANIFEST).is_file():
        folder = _in_artifact(folder)
    elif not folder.exists() and reference.count("/") == 1 and not reference.startswith((".", "/")):
        folder = _from_hub(reference, download)
    if folder.is_file():
        raise ConfigError(f"{reference}: this is a file; name the folder of a model")
    if not folder.is_dir():
        raise ConfigError(f"{reference}: no such model folder; check the path")
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder}: no config.json; expected a Hugging Face model folder")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise ConfigError(f"{folder}: no weights (*.safetensors); copy them there and try again")
    return folder


def _in_artifact(folder: Path) -> Path:
    """Return the folder of the model in an artifact."""
    stage = read_manifest(folder).stage
    if not (folder / "model").is_dir():
        raise ConfigError(
            f"{folder}: made by {stage}, which makes no model; name a folder that sft or "
            "joint-train made"
        )
    return folder / "model"


def _from_hub(hub_id: str, download: bool) -> Path:
    try:
        return Path(snapshot_download(hub_id, local_files_only=not download))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{hub_id}: neither a folder here nor a model that the hub gives "
            f"({type(error).__name__}); copy the model to a folder and name that"
        ) from None


def find_config(reference: str) -> Path:
    """Return the folder of a model's ``config.json``; its weights may be missing.

    Parameters
    ----------
    reference : str
        As in :func:`find_model`; a hub id is looked up in the local cache only.

    Raises
    ------
    ConfigError
        If there is none on this machine.
    """
    folder = Path(reference)
    if folder.is_file():
        raise ConfigError(f"{reference}: this is a file; name the folder of a model")
    if (folder / MANIFEST).is_file():
        folder = _in_artifact(folder)
    if (folder / "config.json").is_file():
        return folder
    if not folder.exists() and reference.count("/") == 1 and not reference.startswith((".", "/")):
        cached = try_to_load_from_cache(reference, "config.json")
        if isinstance(cached, str):
            return Path(cached).parent
        raise ConfigError(
            f"{reference}: neither a folder here nor in the local cache of the hub; "
            "copy the model, or its config.json alone, to a folder and name that"
        )
    raise ConfigError(f"{folder}: no config.json; expected a Hugging Face model folder")


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model's ``config.json``."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{folder / 'config.json'}: not JSON ({error}); copy it again") from None
    return config


def check_full_precision(folder: Path) -> None:
    """Refuse a model whose weights are quantised, since the weights themselves are not stored.

    Raises
    ------
    ConfigError
        If they are; the message names the kind of quantisation.
    """
    quantization = read_config(folder).get("quantization_config")
    if quantization:
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise ConfigError(
            f"{folder}: its weights are quantised ({method or 'quantization_config is set'}); "
            "use the model in bf16 or fp32"
        )


def vocab_size(folder: Path) -> int:
    """Return the number of rows of a model's embedding, as its configuration states it."""
    config = read_config(folder)
    size = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
    if not isinstance(size, int):
        raise ConfigError(
            f"{folder / 'config.json'}: no vocab_size; is it a causal language model?"
        )
    return size


def reason_of(error: BaseException) -> str:
    """Return the line of an error from transformers that gives the reason."""
    lines = str(error).splitlines() or [type(error).__name__]
    # The mismatch is on the line after the one that names the check.
    if isinstance(error, StrictDataclassError) and len(lines) > 1:
        return f"config.json: {lines[-1].strip()}"
    return lines[0]
