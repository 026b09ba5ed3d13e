"""Generation by the engine of one's choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from transformers import PreTrainedTokenizerBase

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.choice import Engine, choose
from wmss_cli.evaluate.continuous import continuous_refusal, write_continuous
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
        """Yield in any order."""


STATIC_SLOTS = 64
"""Measured: the more, the faster, until the keys and values outweigh the weights."""


@dataclass(frozen=True)
class Generation:
    """What a model wrote.

    Attributes
    ----------
    text : str
        Without special tokens.
    tokens : int
        How many it wrote, the stop token not counted.
    finish_reason : {"stop", "length"}
        Whether it came to an end by itself or was cut at `max_new_tokens`.
    """

    text: str
    tokens: int
    finish_reason: Literal["stop", "length"]


class Opened(NamedTuple):
    """An engine with a model in it."""

    name: Engine
    write: Write


def open_engine(
    engine: Engine, folder: Path, precision: Precision, slots: int | None, drawn: bool = False
) -> Opened:
    """Load a model into an engine; the log says which and why.

    All engines write the same greedy answers, up to rounding: where two tokens are almost equally
    probable, one may write the other. What they draw differs.

    Parameters
    ----------
    engine : str
        See ``eval.engine`` in :mod:`wmss_cli.core.config`.
    folder : Path
        Of the model.
    precision : str
        Of weights and activations.
    slots : int or None
        Most prompts at a time; None for what suits the engine.
    drawn : bool
        Whether tokens will be drawn.

    Raises
    ------
    ConfigError
        If the engine cannot work here (see :func:`wmss_cli.evaluate.choice.choose`), or the model
        cannot be loaded.
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
    # Goes to the log of the stage.
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
        Of the model.
    prompt_ids : sequence of list of int
        Token ids of each prompt.
    max_new_tokens : int
        Longest continuation, in tokens.
    stop_token_ids : sequence of int
        Each of them ends a continuation.
    sampling : Sampling, optional
        How tokens are drawn; without it the most probable one is taken.

    Yields
    ------
    index : int
        Of the prompt; in any order.
    generation : Generation
    """
    written = write(prompt_ids, max_new_tokens, stop_token_ids, sampling=sampling)
    for index, tokens in written:
        yield index, _read(tokens, tokenizer, stop_token_ids)


def _read(
    written: list[int], tokenizer: PreTrainedTokenizerBase, stop_token_ids: Sequence[int]
) -> Generation:
    """Take the stop token off, and decode the rest."""
    stopped = written[-1] in stop_token_ids
    kept = written[:-1] if stopped else written
    text = tokenizer.decode(kept, skip_special_tokens=True)
    assert isinstance(text, str)
    return Generation(text, len(kept), "stop" if stopped else "length")
