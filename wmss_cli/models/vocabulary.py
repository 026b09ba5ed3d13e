"""A tokenizer read from its files without transformers, for checks before anything is queued.

Only ``tokenizer.json`` is read. Models with other files only are checked in their job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.template import PLAIN_TEMPLATE, default_of

FILE = "tokenizer.json"
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")


class Vocabulary:
    """What determines prompts in a tokenizer, under the names that transformers uses.

    Parameters
    ----------
    folder : Path
        The folder of a model, with a ``tokenizer.json``.

    Attributes
    ----------
    special_tokens_map : dict of str to str
        ``eos_token`` and the like.
    chat_template : str
        The model's own, or the plain one if it has none.

    Raises
    ------
    ConfigError
        If a file cannot be read, the tokenizer is empty, or it has no end-of-sequence token.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        settings = [_read(folder / name) for name in reversed(_SETTINGS)]
        merged = {name: value for one in settings for name, value in one.items()}
        self._tokenizer = _load(folder / FILE)
        for _, entry in sorted(merged.get("added_tokens_decoder", {}).items(), key=_number):
            self._add(entry)
        self.special_tokens_map = {
            name: text
            for name, value in merged.items()
            if name.endswith("_token") and (text := _content(value)) is not None
        }
        for text in self.special_tokens_map.values():
            self._add({"content": text, "special": True})
        if self._tokenizer.get_vocab_size() <= len(self.added_tokens_decoder):
            raise ConfigError(f"{folder}: the tokenizer is empty; copy its files (tokenizer.json)")
        if self.eos_token_id is None:
            raise ConfigError(
                f"{folder}: the tokenizer has no eos_token; set one and save it again"
            )
        bos = self._id_of("bos_token")
        opens = bos is not None and bos in self._tokenizer.encode("").ids
        plain = ("{{ bos_token }}" if opens else "") + PLAIN_TEMPLATE
        self.chat_template: str = _template_of(folder, merged) or plain

    def __call__(
        self,
        texts: Sequence[str],
        /,
        *,
        add_special_tokens: bool,
        split_special_tokens: bool = False,
    ) -> dict[str, list[list[int]]]:
        """Return the token ids of texts."""
        self._tokenizer.encode_special_tokens = split_special_tokens
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in encoded]}

    @cached_property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens added to the vocabulary, special or not."""
        return dict(self._tokenizer.get_added_tokens_decoder())

    @property
    def eos_token_id(self) -> int | None:
        """The end-of-sequence token."""
        return self._id_of("eos_token")

    def get_vocab(self) -> dict[str, int]:
        """Return the ids of all tokens."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return vocabulary

    def token_of(self, token_id: int) -> str:
        """Return the text of a token."""
        return self._tokenizer.id_to_token(token_id) or str(token_id)

    def _id_of(self, name: str) -> int | None:
        text = self.special_tokens_map.get(name)
        return None if text is None else self._tokenizer.token_to_id(text)

    def _add(self, entry: Any) -> None:
        # As in transformers: an entry that tokenizer.json lacks gets the next id.
        text = _content(entry)
        if text and self._tokenizer.token_to_id(text) is None:
            special = bool(entry.get("special", False))
            token = AddedToken(text, special=special, normalized=not special)
            add = self._tokenizer.add_special_tokens if special else self._tokenizer.add_tokens
            add([token])


def has_vocabulary(folder: Path) -> bool:
    """Return whether a model has the file that :class:`Vocabulary` reads."""
    return (folder / FILE).is_file()


def _load(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises nothing more specific for a file that it cannot read.
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(f"{file.parent}: no tokenizer that loads ({reason})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{file}: not JSON ({error}); copy it again") from None
    return read if isinstance(read, dict) else {}


def _template_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8") or None
    return default_of(settings.get("chat_template"))


def _content(value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _number(entry: tuple[str, Any]) -> int:
    return int(entry[0])
