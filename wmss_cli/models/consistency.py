"""What can be checked before a model is loaded: whether its files belong together.

It imports neither torch nor transformers, so that it also runs on a login node.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.context import Context, context_of
from wmss_cli.models.folder import read_config, vocab_size
from wmss_cli.models.stops import DeclaredStops, check_stops, declared_stops
from wmss_cli.models.vocabulary import Vocabulary, has_vocabulary
from wmss_cli.models.weight_shapes import check_shapes, embedding_rows
from wmss_cli.models.weights import check_files, stored_tensors


class Ids(Protocol):
    """What is needed of a tokenizer to know which ids exist."""

    def get_vocab(self) -> Mapping[str, int]:
        """Return the ids of all tokens."""

    @property
    def added_tokens_decoder(self) -> Any:
        """The tokens added to the vocabulary, by id."""

    @property
    def special_tokens_map(self) -> Any:
        """``eos_token`` and the like."""


@dataclass(frozen=True)
class ModelFacts:
    """A model whose files fit each other.

    Attributes
    ----------
    folder : Path
        Its path.
    parameters : int
        Number of parameters in its safetensors files; 0 if it has none.
    rows : int
        Number of rows of the embedding; every token id is below it.
    context : Context or None
        How long a text may be; None if no limit is known.
    stops : DeclaredStops
        What ends an answer, according to its files.
    vocabulary : Vocabulary or None
        Its tokenizer; None if it has no ``tokenizer.json``.
    """

    folder: Path
    parameters: int
    rows: int
    context: Context | None
    stops: DeclaredStops
    vocabulary: Vocabulary | None

    @property
    def ignored_stops(self) -> list[int]:
        """The ids that do not end an answer, since they are ordinary pieces of text."""
        own = () if self.vocabulary is None else self.vocabulary.added_tokens_decoder
        return self.stops.ignored(own)


def examine(folder: Path) -> ModelFacts:
    """Check the files of a model against each other, and return what they say.

    Raises
    ------
    ConfigError
        If a file is missing or is a pointer of git-lfs, weights do not match ``config.json``, or
        the tokenizer or ``generation_config.json`` has ids beyond the embedding.
    IntegrityError
        If a file of weights is cut or damaged.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    states = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _examined(folder, states)


@lru_cache(maxsize=16)
def _examined(folder: Path, _: tuple[tuple[str, int, int], ...]) -> ModelFacts:
    check_files(folder)
    config = read_config(folder)
    stored = stored_tensors(folder)
    check_shapes(folder, config, stored)
    # Llama 3.2 Vision has rows for images after those that the head can predict.
    rows = min(embedding_rows(stored) or vocab_size(folder), vocab_size(folder))
    stops = declared_stops(folder)
    check_stops(folder, stops, rows)
    vocabulary = Vocabulary(folder) if has_vocabulary(folder) else None
    if vocabulary is not None:
        check_ids(folder, vocabulary, rows)
    parameters = sum(math.prod(tensor.shape) for tensor in stored.values())
    return ModelFacts(folder, parameters, rows, context_of(config), stops, vocabulary)


def check_ids(folder: Path, tokenizer: Ids, rows: int, written: Iterable[int] = ()) -> None:
    """Refuse a tokenizer that can produce ids beyond the embedding.

    Special tokens that have no role and that the template does not write never occur: Gemma 3 has
    one for images.

    Parameters
    ----------
    folder : Path
        The folder of the model, for the message.
    tokenizer : Ids
        The model's tokenizer.
    rows : int
        Number of rows of the embedding.
    written : iterable of int
        The ids that the chat template writes.

    Raises
    ------
    ConfigError
        If there is one; the message names the first.
    """
    added = tokenizer.added_tokens_decoder
    named = {str(text): name for name, text in tokenizer.special_tokens_map.items()}
    by_template = set(written)
    beyond = sorted(
        (token_id, text)
        for text, token_id in tokenizer.get_vocab().items()
        if token_id >= rows
        and (
            token_id in by_template
            or text in named
            or token_id not in added
            or not added[token_id].special
        )
    )
    if beyond:
        token_id, text = beyond[0]
        what = f"{text!r} ({named[text]})" if text in named else repr(text)
        raise ConfigError(
            f"{folder}: the tokenizer has {len(beyond)} tokens beyond the {rows:,} rows of the "
            f"embedding, such as {what}, id {token_id}; save the model after "
            "resize_token_embeddings(len(tokenizer)), or use the tokenizer of the same model"
        )


def check_length(folder: Path, context: Context | None, tokens: int, what: str) -> None:
    """Refuse texts that are longer than a model was made for.

    Parameters
    ----------
    tokens : int
        Length of the longest text.
    what : str
        Where that length comes from, and what to change.

    Raises
    ------
    ConfigError
        If it is longer.
    """
    if context is not None and tokens > context.tokens:
        raise ConfigError(
            f"{folder}: the model was made for {context.tokens:,} tokens ({context.source} in "
            f"config.json), and {what}"
        )


def check_apart(folder: Path, context: Context | None, tokens: int, what: str) -> None:
    """Refuse samples so long that those in one pass would depend on each other.

    Parameters
    ----------
    tokens, what
        As in :func:`check_length`.

    Raises
    ------
    ConfigError
        If they would.
    """
    if context is not None and context.apart is not None and tokens > context.apart:
        raise ConfigError(
            f"{folder}: beyond {context.apart:,} tokens the longest sample of a pass decides the "
            "rotary embeddings of all (rope_type in config.json), so results would depend on how "
            f"samples are packed, and {what}"
        )
