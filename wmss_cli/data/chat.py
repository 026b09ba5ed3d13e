"""The only place that renders a sample: system prompt, chat template, completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from wmss_cli.core.errors import ConfigError

_MARK = "wmss-completion"


@dataclass(frozen=True)
class Rendered:
    """A sample as token ids.

    Attributes
    ----------
    input_ids : list of int
        Prompt, completion, and the end-of-turn token.
    prompt_length : int
        How many of them come before the completion.
    """

    input_ids: list[int]
    prompt_length: int


@dataclass(frozen=True)
class Renderer:
    """Renders prompts and completions by the model's chat template.

    Prompt and completion are tokenised apart, so that the ids of a prompt are the same in
    training, scoring and generation, and the completion mask needs no search.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a chat template (:func:`wmss_cli.models.tokenizer.load_tokenizer` sees to it).
    system_prompt : str
        Empty for none.
    """

    tokenizer: PreTrainedTokenizerBase
    system_prompt: str

    def prompt_text(self, prompt: str) -> str:
        """Return all that stands before the completion.

        Raises
        ------
        ConfigError
            If the template has no place for the system prompt.
        """
        text = self._apply(prompt)
        # Many templates strip the messages, and a YAML block ends in a newline.
        if self.system_prompt.strip() not in text:
            raise ConfigError(
                "the model's chat template leaves the system prompt out; "
                "set tokenize.system_prompt and eval.system_prompt to ''"
            )
        # Templates of reasoning models open the thinking themselves; here the completion does.
        opened = text.rstrip()
        return opened.removesuffix("<think>") if opened.endswith("<think>") else text

    @cached_property
    def end_of_turn_id(self) -> int:
        """The token that ends an answer: the template's end of turn, or the end of sequence."""
        text = self._apply("x", _MARK)
        tail = self._encode([text.rpartition(_MARK)[2]])[0]
        # Not `all_special_ids`: it leaves out special tokens that have no name of their own.
        added = self.tokenizer.added_tokens_decoder
        special = [token for token in tail if token in added and added[token].special]
        return special[0] if special else int(self.tokenizer.eos_token_id)

    @property
    def stop_token_ids(self) -> list[int]:
        """Where generation ends: the end of turn and the end of sequence."""
        return sorted({self.end_of_turn_id, int(self.tokenizer.eos_token_id)})

    def prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of prompts, ready for generation."""
        return self._encode([self.prompt_text(prompt) for prompt in prompts])

    def render(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Rendered]:
        """Render samples.

        Parameters
        ----------
        prompts, completions : sequence of str
            One of each per sample.
        """
        before = self.prompt_ids(prompts)
        after = self._encode(completions)
        end = self.end_of_turn_id
        return [
            Rendered([*prompt, *completion, end], len(prompt))
            for prompt, completion in zip(before, after, strict=True)
        ]

    def _apply(self, prompt: str, completion: str | None = None) -> str:
        messages = [{"role": "user", "content": prompt}]
        if self.system_prompt:
            messages.insert(0, {"role": "system", "content": self.system_prompt})
        if completion is not None:
            messages.append({"role": "assistant", "content": completion})
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=completion is None
            )
        except TemplateError as error:
            raise ConfigError(
                f"the model's chat template refuses the messages ({error}); "
                "set tokenize.system_prompt and eval.system_prompt to ''"
            ) from None
        assert isinstance(text, str)
        return text

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        # The template has written the special tokens already.
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return ids
