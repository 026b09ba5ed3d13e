"""Generation, with one of several engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from wmss_cli.core.errors import ConfigError
from wmss_cli.core.tags import TAGS
from wmss_cli.evaluate.continuous import continuous_refusal, write_continuous
from wmss_cli.evaluate.engine_choice import Engine, choose
from wmss_cli.evaluate.plain import write_plain
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.evaluate.static import windows_of, write_static
from wmss_cli.evaluate.vllm import load_vllm, write_vllm
from wmss_cli.models.causal import Precision, dtype_of, load_for_inference


class Write(Protocol):
    """(prompts, most new tokens, stop tokens) to (index of the prompt, continuation)."""

    def __call__(
        self,
        prompt_ids: Sequence[list[int]],
        max_new_tokens: int,
        stop_token_ids: Sequence[int],
        *,
        sampling: Sampling | None = None,
    ) -> Iterator[tuple[int, list[int]]]:
        """Yield pairs in any order."""


STATIC_SLOTS = 64
"""Measured: more is faster, until the keys and values outweigh the weights."""


@dataclass(frozen=True)
class Generation:
    """What a model wrote.

    Attributes
    ----------
    text : str
        The answer, without special tokens.
    tokens : int
        Number of generated tokens, without the stop token.
    finish_reason : {"stop", "length"}
        Whether it ended by itself or was cut at `max_new_tokens`.
    """

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


class Opened(NamedTuple):
    """An engine that has loaded a model."""

    name: Engine
    write: Write


def open_engine(
    engine: Engine, folder: Path, precision: Precision, slots: int | None, drawn: bool = False
) -> Opened:
    """Load a model into an engine, and log which engine and why.

    All engines give the same greedy answers up to rounding: if two tokens are almost equally
    probable, engines may choose differently. Sampled answers differ between engines.

    Parameters
    ----------
    engine : str
        See ``eval.engine`` in :mod:`wmss_cli.core.config`.
    folder : Path
        The folder of the model.
    precision : str
        The precision of weights and activations.
    slots : int or None
        Most prompts at a time; None for the engine's default.
    drawn : bool
        Whether tokens are sampled.

    Raises
    ------
    ConfigError
        If the engine cannot work here (see :func:`wmss_cli.evaluate.engine_choice.choose`), or the
        model cannot be loaded.
    StageError
        If vLLM cannot load it.
    """
    dtype = dtype_of(precision)
    name, why = choose(engine, dtype, drawn)
    if name == "vllm":
        _say(engine, name, why)
        llm = load_vllm(folder, str(dtype).removeprefix("torch."), slots)
        return Opened(name, partial(write_vllm, llm))
    model = load_for_inference(folder, precision)
    if name == "continuous" and (refusal := continuous_refusal(model)):
        if engine != "auto":
            raise refusal
        name, why = "static", str(refusal)
    if name == "static" and engine == "auto":
        try:
            windows_of(model)
        except ConfigError as error:
            name, why = "plain", f"{error}; one answer is written at a time"
    _say(engine, name, why)
    if name == "plain":
        return Opened(name, partial(write_plain, model))
    if name == "continuous":
        return Opened(name, partial(write_continuous, model, slots=slots))
    return Opened("static", partial(write_static, model, slots=slots or STATIC_SLOTS))


def _say(engine: Engine, name: Engine, why: str) -> None:
    # This line goes to the stage's log.
    print(f"eval.engine {engine}: {name}, since {why}", flush=True)  # noqa: T201


def generate(
    write: Write,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, Generation]]:
    """Continue each prompt.

    Parameters
    ----------
    write : callable
        From :func:`open_engine`.
    tokenizer : PreTrainedTokenizerBase
        The tokenizer of the model.
    prompt_ids : sequence of list of int
        Token ids of each prompt.
    max_new_tokens : int
        Longest continuation, in tokens.
    stop_token_ids : sequence of int
        Any of them ends a continuation.
    sampling : Sampling, optional
        How tokens are sampled; without it the most probable token is taken.

    Yields
    ------
    index : int
        Index of the prompt; in any order.
    generation : Generation
    """
    written = write(prompt_ids, max_new_tokens, stop_token_ids, sampling=sampling)
    for index, tokens in written:
        yield index, _read(tokens, tokenizer, stop_token_ids)


def _read(
    written: list[int], tokenizer: PreTrainedTokenizerBase, stop_token_ids: Sequence[int]
) -> Generation:
    """Remove the stop token and other special ones, and decode the rest.

    The tags around thinking and answer stay, which are special tokens of some models.
    """
    stopped = written[-1] in stop_token_ids
    kept = written[:-1] if stopped else written
    # Many are special in the tokenizer's file without a role such as the end of a text.
    added = {
        i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    roles = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    left_out = {token for token, name in (*added.items(), *roles) if name not in TAGS}
    text = tokenizer.decode([token for token in kept if token not in left_out])
    assert isinstance(text, str)
    return Generation(text, len(kept), "stop" if stopped else "length")
