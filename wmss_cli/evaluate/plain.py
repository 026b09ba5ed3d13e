"""Greedy generation by transformers' own `generate`, one prompt at a time.

It works with every model, and it is what the engines are tested against and measured against.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel


def write_plain(
    model: PreTrainedModel,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts by the most probable token, one after the other.

    Parameters and what is yielded as in :func:`wmss_cli.evaluate.static.write_static`.
    """
    for index, prompt in enumerate(prompt_ids):
        ids = torch.tensor([prompt], device=model.device)
        with torch.inference_mode(), greedy(model, max_new_tokens, stop_token_ids):
            # The libraries leave the type of generate open.
            output = cast(Any, model).generate(input_ids=ids, attention_mask=torch.ones_like(ids))
        yield index, output[0, len(prompt) :].tolist()


@contextmanager
def greedy(
    model: PreTrainedModel, max_new_tokens: int, stop_token_ids: Sequence[int]
) -> Iterator[GenerationConfig]:
    """Set the model's own generation configuration aside: sampling, penalties and all.

    To give `generate` another one is not enough: it takes what that leaves out from the model's.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_token_ids),
        pad_token_id=stop_token_ids[0],
    )
    try:
        yield model.generation_config
    finally:
        model.generation_config = own
