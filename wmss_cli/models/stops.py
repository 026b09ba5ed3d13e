"""The tokens that end an answer, by a model's own files. torch is not imported here."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import read_config

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class DeclaredStops:
    """What ends an answer, according to a model's files.

    Attributes
    ----------
    ids : tuple of int
        In order; empty if the files say nothing.
    source : str
        The file that says so.
    chosen : bool
        Whether the ids were set on purpose: a single id may come from the model type's defaults.
    """

    ids: tuple[int, ...]
    source: str
    chosen: bool

    def heeded(self, own_tokens: Collection[int]) -> list[int]:
        """Return the ids that end an answer.

        Parameters
        ----------
        own_tokens : collection of int
            Ids of the tokenizer's added tokens. An id that nobody set on purpose and that is an
            ordinary piece of text does not count, since answers would end at any such piece.
        """
        return [i for i in self.ids if self.chosen or i in own_tokens]

    def ignored(self, own_tokens: Collection[int]) -> list[int]:
        """Return the other ids, which do not end an answer."""
        heeded = self.heeded(own_tokens)
        return [i for i in self.ids if i not in heeded]


def declared_stops(folder: Path) -> DeclaredStops:
    """Read what ends an answer from ``generation_config.json``, or else from ``config.json``.

    Raises
    ------
    ConfigError
        If a file is not JSON, or contains something other than ids.
    """
    file = folder / GENERATION
    if file.is_file():
        said = _read(file)
        ids = _ids(said.get("eos_token_id"), file)
        if ids:
            chosen = not said.get("_from_model_config") or len(ids) > 1
            return DeclaredStops(ids, GENERATION, chosen)
    config = read_config(folder)
    text = config.get("text_config")
    for said in (config, text if isinstance(text, dict) else {}):
        ids = _ids(said.get("eos_token_id"), folder / "config.json")
        if ids:
            return DeclaredStops(ids, "config.json", len(ids) > 1)
    return DeclaredStops((), GENERATION, False)


def check_stops(folder: Path, stops: DeclaredStops, rows: int) -> None:
    """Refuse ids that were set on purpose but that the model cannot write.

    Parameters
    ----------
    rows : int
        Number of rows of the embedding.

    Raises
    ------
    ConfigError
        If there is one.
    """
    beyond = [i for i in stops.ids if i >= rows]
    if beyond and stops.chosen:
        raise ConfigError(
            f"{folder / stops.source}: eos_token_id {beyond[0]} is beyond the {rows:,} rows of the "
            "embedding; use the file of the same model, or correct the id"
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); copy it again") from None
    if not isinstance(said, dict):
        raise ConfigError(f"{file}: expected keys and values; copy it again")
    return said


def _ids(given: Any, file: Path) -> tuple[int, ...]:
    if given is None:
        return ()
    ids = given if isinstance(given, list) else [given]
    if not all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in ids):
        raise ConfigError(f"{file}: eos_token_id is {given!r}, expected ids of tokens")
    return tuple(dict.fromkeys(ids))
