"""Generation by transformers' own `generate`, one prompt at a time.

It works with every model; the engines are tested and measured against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel

from wmss_cli.evaluate.sampling import Sampling


def write_plain(
    model: PreTrainedModel,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, one after the other.

    Parameters and what is yielded are as in :func:`wmss_cli.evaluate.static.write_static`.
    """
    for index, prompt in enumerate(prompt_ids):
        ids = torch.tensor([prompt], device=model.device)
        if sampling is not None:
            torch.manual_seed(sampling.seeds[index])
        with torch.inference_mode(), settings(model, max_new_tokens, stop_token_ids, sampling):
            # The libraries do not type generate.
            output = cast(Any, model).generate(input_ids=ids, attention_mask=torch.ones_like(ids))
        yield index, output[0, len(prompt) :].tolist()


@contextmanager
def settings(
    model: PreTrainedModel,
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    sampling: Sampling | None = None,
) -> Iterator[GenerationConfig]:
    """Set the model's own generation configuration aside, with its sampling and penalties.

    Passing another one to `generate` is not enough: what that leaves out comes from the model's.
    """
    own = model.generation_config
    drawn: dict[str, Any] = {"do_sample": False}
    if sampling is not None:
        drawn = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": 0,
        }
    model.generation_config = GenerationConfig(
        **drawn,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_token_ids),
        pad_token_id=stop_token_ids[0],
    )
    try:
        yield model.generation_config
    finally:
        model.generation_config = own
