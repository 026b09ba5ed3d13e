"""The only place that renders a sample: system prompt, chat template, completion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from jinja2 import TemplateError

from wmss_cli.core.config import TEMPLATE_DATE
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.tags import TAGS
from wmss_cli.models.template import ChatTemplate, default_of

_MARK = "wmss-completion"
_QUESTION = "wmss-question"
_SYSTEM_ADVICE = "set tokenize.system_prompt and eval.system_prompt to ''"
_STAND_INS = [chr(code) for code in range(0xE000, 0xE100)]
"""Characters that are used in no language."""


class Tokenizer(Protocol):
    """What is used of a tokenizer, from transformers or read without it."""

    @property
    def chat_template(self) -> Any:
        """Jinja source, or several by name."""

    @property
    def special_tokens_map(self) -> Any:
        """``eos_token`` and the like."""

    @property
    def added_tokens_decoder(self) -> Any:
        """The tokens added to the vocabulary, by id."""

    @property
    def eos_token_id(self) -> Any:
        """The end-of-sequence token."""

    def get_vocab(self) -> Any:
        """Return the ids of all tokens."""

    def __call__(
        self, texts: Any, /, *, add_special_tokens: bool, split_special_tokens: bool = False
    ) -> Any:
        """Return the token ids of texts as ``input_ids``."""


@dataclass(frozen=True)
class Rendered:
    """A sample as token ids.

    Attributes
    ----------
    input_ids : list of int
        Prompt, completion, and the end-of-turn token.
    prompt_length : int
        Number of tokens before the completion.
    """

    input_ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class _Literal:
    """The name of a special token in a text, which is tokenised as text and not as the token."""

    text: str


@dataclass(frozen=True)
class Renderer:
    """Renders prompts and completions by the model's chat template.

    Prompt and completion are tokenised separately, so that the ids of a prompt are the same in
    training, scoring and generation, and the completion mask needs no search. If a text contains
    the name of a special token, its characters are tokenised, not the token.

    Attributes
    ----------
    tokenizer : Tokenizer
        A tokenizer with a chat template, which :func:`wmss_cli.models.tokenizer.load_tokenizer`
        guarantees, or a :class:`wmss_cli.models.vocabulary.Vocabulary`.
    system_prompt : str
        Empty if there is none.
    date : str
        Today's date for a template that prints it, as ``2024-07-26``.
    """

    tokenizer: Tokenizer
    system_prompt: str
    date: str = TEMPLATE_DATE

    def prompt_text(self, prompt: str) -> str:
        """Return all text before the completion.

        Raises
        ------
        ConfigError
            If the template drops the system prompt or the question, or the system prompt contains a
            special token.
        """
        return "".join(
            piece.text if isinstance(piece, _Literal) else piece
            for piece in self._prompt_pieces(prompt)
        )

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an answer: the template's end of turn, or the end of the sequence."""
        text = self._apply("x", self._takes_lists, _MARK)
        _, found, after = text.rpartition(_MARK)
        if not found:
            raise ConfigError(
                "the model's chat template leaves the answer out; use a template that writes the "
                "content of the role assistant"
            )
        tail = self._encode([after])[0]
        special = [token for token in tail if token in self._control_ids]
        return special[0] if special else int(self.tokenizer.eos_token_id)

    @property
    def stop_token_ids(self) -> list[int]:
        """The tokens that end generation: the end of turn and the end of sequence."""
        return sorted({self.end_of_turn_id, int(self.tokenizer.eos_token_id)})

    @cached_property
    def writes_today(self) -> bool:
        """Whether the template uses today's date, which is then :attr:`date`."""
        return self._template.writes_today

    def has_special_token(self, text: str) -> bool:
        """Return whether a text contains the name of a special token."""
        return self._names is not None and self._names.search(text) is not None

    def prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of prompts, ready for generation."""
        return self._encode_pieces([self._prompt_pieces(prompt) for prompt in prompts])

    def render(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Rendered]:
        """Render samples.

        Parameters
        ----------
        prompts, completions : sequence of str
            One of each for every sample.
        """
        before = self.prompt_ids(prompts)
        after = self._encode_pieces([list(self._pieces(text)) for text in completions])
        end = self.end_of_turn_id
        return [
            Rendered([*prompt, *completion, end], len(prompt))
            for prompt, completion in zip(before, after, strict=True)
        ]

    def _prompt_pieces(self, prompt: str) -> list[str | _Literal]:
        """Return a rendered prompt, split at the names of special tokens."""
        written = list(self._pieces(prompt))
        literals = [piece for piece in written if isinstance(piece, _Literal)]
        if not literals:
            text = self._apply(prompt, self._takes_lists)
            self._check_whole(prompt, text)
            return [self._unopened(text)]
        # In place of a token's name, the template sees a character that no language uses.
        mark = next(mark for mark in _STAND_INS if mark not in prompt)
        marked = "".join(mark if isinstance(piece, _Literal) else piece for piece in written)
        text = self._apply(marked, self._takes_lists)
        self._check_whole(marked, text)
        rendered: list[str | _Literal] = []
        for at, piece in enumerate(self._unopened(text).split(mark)):
            # A template that repeats the question repeats the names of tokens, too.
            rendered += [literals[(at - 1) % len(literals)], piece] if at else [piece]
        return rendered

    def _check_whole(self, prompt: str, text: str) -> None:
        # Many templates strip the messages, and a YAML block ends in a newline.
        if prompt.strip() not in text:
            raise ConfigError(
                f"the model's chat template changes or leaves out the question {prompt[:40]!r}; "
                "use a template that writes the content of the role user as it is"
            )

    @staticmethod
    def _unopened(text: str) -> str:
        # Templates of reasoning models open the thinking block; here the completion opens it.
        opened = text.rstrip()
        return opened.removesuffix("<think>") if opened.endswith("<think>") else text

    @cached_property
    def _template(self) -> ChatTemplate:
        source = default_of(self.tokenizer.chat_template)
        assert source is not None, "a tokenizer without a template was given the plain one"
        tokens = {
            name: str(token)
            for name, token in self.tokenizer.special_tokens_map.items()
            if not isinstance(token, list)
        }
        return ChatTemplate(source, tokens, self.date)

    @cached_property
    def _control(self) -> dict[str, int]:
        """The tokens that text must not produce: special ones, and added ones of the template."""
        source = default_of(self.tokenizer.chat_template) or ""
        return {
            token.content: token_id
            for token_id, token in self.tokenizer.added_tokens_decoder.items()
            if token.content not in TAGS and (token.special or token.content in source)
        }

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self._control.values())

    @cached_property
    def _names(self) -> re.Pattern[str] | None:
        # The longest first, since a shorter name may be its beginning.
        longest = sorted(filter(None, self._control), key=lambda name: (-len(name), name))
        return re.compile("|".join(map(re.escape, longest))) if longest else None

    @cached_property
    def _takes_lists(self) -> bool:
        """Whether the template wants content as a list of parts, and loses it if it is a string.

        This is tested once, with a question that no template contains.
        """
        if self.has_special_token(self.system_prompt):
            raise ConfigError(
                "the system prompt contains a special token of the model's tokenizer; take it out "
                "of tokenize.system_prompt and eval.system_prompt"
            )
        lost = self._lost(False)
        if lost is None:
            return False
        if self._lost(True) is None:
            return True
        raise lost

    def _lost(self, as_list: bool) -> ConfigError | None:
        """Return the error if a form of content is lost in the template."""
        try:
            text = self._apply(_QUESTION, as_list)
        except ConfigError as error:
            return error
        if self.system_prompt.strip() not in text:
            return ConfigError(
                f"the model's chat template leaves the system prompt out; {_SYSTEM_ADVICE}"
            )
        # A list that the template takes for a string appears as Python prints it.
        if _QUESTION not in text or (as_list and "'type'" in text):
            return ConfigError(
                "the model's chat template leaves the question out; use a template that writes "
                "the content of the role user"
            )
        return None

    def _apply(self, prompt: str, as_list: bool, completion: str | None = None) -> str:
        said = [("system", self.system_prompt)] if self.system_prompt else []
        said.append(("user", prompt))
        if completion is not None:
            said.append(("assistant", completion))
        messages = [{"role": role, "content": _content(text, as_list)} for role, text in said]
        try:
            return self._template.render(messages, add_generation_prompt=completion is None)
        except TemplateError as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            advice = _SYSTEM_ADVICE if self.system_prompt else "use another template"
            raise ConfigError(
                f"the model's chat template refuses the messages ({reason}); {advice}"
            ) from None

    def _pieces(self, text: str) -> Iterator[str | _Literal]:
        """Split a text at the names of special tokens."""
        end = 0
        for found in self._names.finditer(text) if self._names is not None else ():
            yield text[end : found.start()]
            yield _Literal(found[0])
            end = found.end()
        yield text[end:]

    def _encode_pieces(self, texts: Sequence[Sequence[str | _Literal]]) -> list[list[int]]:
        ids: list[list[int]] = [[] for _ in texts]
        whole = [(at, pieces[0]) for at, pieces in enumerate(texts) if len(pieces) == 1]
        for (at, _), encoded in zip(
            whole, self._encode([str(one) for _, one in whole]), strict=True
        ):
            ids[at] = encoded
        for at, pieces in enumerate(texts):
            if len(pieces) > 1:
                ids[at] = [token for piece in pieces for token in self._encode_piece(piece)]
        return ids

    def _encode_piece(self, piece: str | _Literal) -> list[int]:
        if not isinstance(piece, _Literal):
            return self._encode([piece])[0] if piece else []
        [ids] = self._encode([piece.text], split_special_tokens=True)
        if self._control_ids.isdisjoint(ids):
            return ids
        # The vocabulary has the name as an ordinary entry.
        letters = self._encode(list(piece.text), split_special_tokens=True)
        return [token for ids in letters for token in ids]

    def _encode(self, texts: Sequence[str], split_special_tokens: bool = False) -> list[list[int]]:
        if not texts:
            return []
        # The template has already written the special tokens.
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=split_special_tokens
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids


def _content(text: str, as_list: bool) -> str | list[dict[str, str]]:
    return [{"type": "text", "text": text}] if as_list else text
