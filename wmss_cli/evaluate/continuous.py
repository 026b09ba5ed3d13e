"""Generation by transformers' continuous batching, with paged attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError, StageError
from wmss_cli.evaluate.engine_choice import dense
from wmss_cli.evaluate.plain import settings
from wmss_cli.evaluate.sampling import Sampling
from wmss_cli.models.forms import can_pack

_CPU_SLOTS = 64


def write_continuous(
    model: PreTrainedModel,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    slots: int | None = None,
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, as many at a time as fit into memory.

    Samples depend on the first prompt's seed and on which prompts run together: transformers
    samples for all of them at once.

    Other parameters and what is yielded are as in :func:`wmss_cli.evaluate.static.write_static`.

    Parameters
    ----------
    slots : int, optional
        Most prompts at a time.

    Raises
    ------
    ConfigError
        If transformers is too old, or does not use flash attention on a GPU.
    StageError
        If transformers gives up a prompt.
    """
    if not prompt_ids:
        return
    longest = max(map(len, prompt_ids)) + max_new_tokens
    options = _options(model, min(slots or len(prompt_ids), len(prompt_ids)), longest)
    # Prompts with a common beginning follow each other: what they share is read once.
    order = sorted(range(len(prompt_ids)), key=lambda i: prompt_ids[i])
    if sampling is not None:
        torch.manual_seed(sampling.seeds[0])
    with (
        settings(model, max_new_tokens, stop_token_ids, sampling) as chosen,
        cast(Any, model).continuous_batching_context_manager(
            generation_config=chosen, continuous_batching_config=options, block=True, timeout=5
        ) as manager,
    ):
        check_attention(model)
        for index in order:
            manager.add_request(
                prompt_ids[index],
                request_id=str(index),
                max_new_tokens=max_new_tokens,
                eos_token_id=list(stop_token_ids),
            )
        left = len(order)
        while left:
            result = manager.get_result(timeout=1)
            if result is None:
                if not manager.is_running():
                    raise StageError("transformers' continuous batching ended; see the log")
                continue
            if not result.is_finished():
                continue
            if result.error is not None:
                raise StageError(f"transformers' continuous batching failed: {result.error}")
            left -= 1
            yield int(result.request_id), list(result.generated_tokens)


def continuous_refusal(model: PreTrainedModel) -> ConfigError | None:
    """Return why a model cannot generate this way, or only far slower than it should."""
    if not can_pack(model):
        # It would generate as if nothing preceded a token, or as if other requests did, silently.
        return ConfigError(
            f"eval.engine continuous: {model.config.model_type} does not keep requests apart that "
            "share a row; use static, plain or vllm"
        )
    problem = flash_refusal(model)
    return None if problem is None else dense(problem)


def flash_refusal(model: PreTrainedModel) -> str | None:
    """Return why transformers would not let a model on a GPU use flash attention."""
    if model.device.type == "cpu" or model._supports_flash_attn:
        return None
    return f"transformers has no flash attention for {model.config.model_type}"


def check_attention(model: PreTrainedModel) -> None:
    """Check which attention a model uses once transformers has prepared it for many requests.

    Raises
    ------
    ConfigError
        If it is not flash attention on a GPU: transformers only warns, and continues.
    """
    attention = model.config.get_text_config()._attn_implementation
    if model.device.type != "cpu" and "flash" not in str(attention):
        raise dense(f"transformers uses attention {attention}")


def _options(model: PreTrainedModel, slots: int, longest: int) -> Any:
    """Return the memory plan: on a GPU nearly all free memory, on a CPU what is needed."""
    try:
        from transformers import ContinuousBatchingConfig
    except ImportError:
        raise ConfigError(
            "eval.engine continuous needs a newer transformers (tested with 5.23); update it, or "
            "set eval.engine to static"
        ) from None
    options = ContinuousBatchingConfig(max_requests_per_batch=slots)
    if model.device.type == "cpu":
        # transformers would take 90 % of the machine's memory.
        slots = options.max_requests_per_batch = min(slots, _CPU_SLOTS)
        options.num_blocks = slots * -(-longest // options.page_size)
        options.max_batch_tokens = 2048
    return options
