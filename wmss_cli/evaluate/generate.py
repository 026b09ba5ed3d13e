"""Batched greedy generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


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


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    batch_size: int,
    stop_token_ids: list[int],
    on_progress: Callable[[int, int], None],
) -> list[Generation]:
    """Continue each prompt by the most probable token, again and again.

    Prompts of like length meet in a batch, the longest first: little is padded, and memory
    that does not suffice shows at once.

    Parameters
    ----------
    model : PreTrainedModel
        On its device, in evaluation mode.
    tokenizer : PreTrainedTokenizerBase
        With a padding token.
    prompt_ids : sequence of list of int
        Token ids of each prompt.
    max_new_tokens : int
        Longest continuation, in tokens.
    batch_size : int
        Prompts generated together; up to rounding it has no influence on the result.
    stop_token_ids : list of int
        Each of them ends a continuation.
    on_progress : callable
        Is given the number of finished prompts and of tokens generated so far.

    Returns
    -------
    list of Generation
        In the order of the prompts.
    """
    order = sorted(range(len(prompt_ids)), key=lambda i: -len(prompt_ids[i]))
    done: dict[int, Generation] = {}
    tokens = 0
    with torch.inference_mode(), _greedy(model, tokenizer, max_new_tokens, stop_token_ids):
        for first in range(0, len(order), batch_size):
            rows = order[first : first + batch_size]
            batch = tokenizer.pad(
                {"input_ids": [prompt_ids[i] for i in rows]},
                padding_side="left",
                return_tensors="pt",
            ).to(model.device)
            # The libraries leave the type of generate open.
            output = cast(Any, model).generate(**batch)
            width = batch["input_ids"].shape[1]
            for i, written in zip(rows, output[:, width:].tolist(), strict=True):
                done[i] = _read(written, tokenizer, stop_token_ids)
                tokens += done[i].tokens
            on_progress(len(done), tokens)
    return [done[i] for i in range(len(prompt_ids))]


@contextmanager
def _greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
    stop_token_ids: list[int],
) -> Iterator[None]:
    """Set the model's own generation configuration aside: sampling, penalties and all.

    To give `generate` another one is not enough: it takes what that leaves out from the model's.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_token_ids,
        pad_token_id=tokenizer.pad_token_id,
    )
    try:
        yield
    finally:
        model.generation_config = own


def _read(
    written: list[int], tokenizer: PreTrainedTokenizerBase, stop_token_ids: list[int]
) -> Generation:
    """Cut what follows the first stop token (padding), and decode the rest."""
    stops = set(stop_token_ids)
    end = next((i for i, token in enumerate(written) if token in stops), None)
    text = tokenizer.decode(written[:end], skip_special_tokens=True)
    assert isinstance(text, str)
    if end is None:
        return Generation(text, len(written), "length")
    return Generation(text, end, "stop")
