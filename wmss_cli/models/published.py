"""The sizes of base models as their makers publish them, to plan before downloading models."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import find_config
from wmss_cli.models.shape import ModelShape

_FILE = Path(__file__).with_name("published.json")


@cache
def published() -> dict[str, dict[str, Any]]:
    """Return the sizes of each known base model, as in its ``config.json``, by hub id."""
    models: dict[str, dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return models


def published_name(reference: str) -> str | None:
    """Return the hub id of a known base model whose name a path or a hub id has.

    Parameters
    ----------
    reference : str
        ``Qwen/Qwen3-4B-Base``, or a path that ends in ``Qwen3-4B-Base``.
    """
    names = {hub_id.split("/")[1].lower(): hub_id for hub_id in published()}
    return names.get(Path(reference).name.lower())


def shape_of(reference: str) -> tuple[ModelShape, str | None]:
    """Return a model's shape: from its ``config.json``, else as published under its name.

    Parameters
    ----------
    reference : str
        As in :func:`wmss_cli.models.folder.find_model`; nothing is downloaded.

    Returns
    -------
    shape : ModelShape
        The shape of the model.
    taken_from : str or None
        The hub id whose published sizes these are; None if the model is on this machine.

    Raises
    ------
    ConfigError
        If there is no ``config.json`` and the name is unknown, or the architecture cannot be
        counted.
    """
    try:
        folder = find_config(reference)
    except ConfigError as error:
        hub_id = published_name(reference)
        # If there is a folder on this machine, its content counts.
        if hub_id is None or Path(reference).exists():
            known = ", ".join(published())
            raise ConfigError(f"{error}; without it wmss knows the sizes of {known}") from None
        return ModelShape.of_config(published()[hub_id], hub_id), hub_id
    return ModelShape.of_folder(folder), None
