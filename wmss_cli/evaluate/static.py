"""Generation in slots: when an answer is finished, the next prompt takes its slot.

The common beginning of all prompts (usually the system prompt) is computed once. No prompt is
padded on the left, no row waits for the longest one, and the head computes one position per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, cast

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from wmss_cli.core.errors import ConfigError
from wmss_cli.evaluate.sampling import Sampling, draw
from wmss_cli.evaluate.slots import Slots, states
from wmss_cli.models.context import context_of

_BY_FORM = ("attention_types", "attention_window", "alibi")
# GPT-Neo keeps its windows elsewhere, and Falcon may have biases that depend on the distance.
_ALIBI = ("bloom", "mpt")
_PREFILL_TOKENS = 2048
"""Most positions in a pass over new prompts, unless a single prompt is longer."""


@dataclass
class _Answer:
    """A prompt whose answer is being generated; all but its last token are in the cache."""

    index: int
    length: int
    last: int
    written: list[int] = field(default_factory=list)


def windows_of(model: PreTrainedModel) -> dict[str, int | None]:
    """Return how many positions each kind of a model's layers attends to; None means all.

    Raises
    ------
    ConfigError
        If a layer is not attention with a key and a value per position, attends within chunks,
        derives windows or positions from the mask, or rotates positions by the longest of a pass.
    """
    windows: dict[str, int | None] = {}
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    by_form = any(getattr(config, name, None) for name in _BY_FORM)
    if by_form or config.model_type in _ALIBI:
        raise _other_layers(model)
    context = context_of(model.config.to_dict())
    if context is not None and context.apart is not None:
        raise ConfigError(
            f"{model.config.model_type}: its positions are rotated by how long the longest answer "
            "of a pass is, so that answers would depend on each other; eval.engine static cannot "
            "do that; use vllm or plain"
        )
    for layer in DynamicCache(config=model.config).layers:
        if type(layer) is DynamicLayer:
            windows["full_attention"] = None
        elif type(layer) is DynamicSlidingWindowLayer and "chunked_attention" not in kinds:
            windows["sliding_attention"] = layer.sliding_window
        else:
            raise _other_layers(model)
    return windows


def _other_layers(model: PreTrainedModel) -> ConfigError:
    return ConfigError(
        f"{model.config.model_type}: not all of its layers attend to all tokens or to a window of "
        "them, which eval.engine static needs; use vllm or plain"
    )


@torch.inference_mode()
def write_static(
    model: PreTrainedModel,
    prompt_ids: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    slots: int,
    sampling: Sampling | None = None,
) -> Iterator[tuple[int, list[int]]]:
    """Continue prompts, as many at a time as there are slots.

    Parameters
    ----------
    model : PreTrainedModel
        The model, on its device and in evaluation mode. All of its layers are attention
        (:func:`windows_of`).
    prompt_ids : sequence of list of int
        Token ids of each prompt, at least one.
    max_new_tokens : int
        Longest continuation, in tokens.
    stop_token_ids : sequence of int
        Any of them ends a continuation.
    slots : int
        Most prompts at a time; up to rounding it does not influence the result.
    sampling : Sampling, optional
        How tokens are sampled; without it the most probable token is taken.

    Yields
    ------
    index : int
        Index of the prompt; answers that end first come first.
    written : list of int
        Its continuation, including the stop token if it ended with one.

    Raises
    ------
    ConfigError
        If a layer of the model is not attention.
    """
    windows = windows_of(model)
    if not prompt_ids:
        return
    # Without the last token: each prompt needs one whose logits start the answer.
    shared = _beginning([prompt[:-1] for prompt in prompt_ids])
    prefix = _read(model, DynamicCache(), [shared]) if shared else DynamicCache()
    cache = Slots(model.config.get_text_config().num_hidden_layers, min(slots, len(prompt_ids)))
    if shared:
        cache.share(prefix)
    # Prompts of similar length share a pass, and a lack of memory shows at once.
    waiting = sorted(range(len(prompt_ids)), key=lambda i: len(prompt_ids[i]))
    stops = set(stop_token_ids)
    answers: list[_Answer] = []
    seeds = sampling.seeds if sampling else ()
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    while waiting or answers:
        while waiting and len(answers) < slots:
            rows = _take(waiting, prompt_ids, len(shared), slots - len(answers))
            if len(prompt_ids[rows[0]]) - 1 > len(shared):
                rest = [prompt_ids[i][len(shared) : -1] for i in rows]
                cache.fill(len(answers), _read(model, _repeated(prefix, len(rows)), rest))
            answers += [_Answer(i, len(prompt_ids[i]) - 1, prompt_ids[i][-1]) for i in rows]
        logits = _step(model, cache, answers, windows)
        if sampling is None:
            chosen = cast(list[int], logits.argmax(-1).tolist())
        else:
            own = [generators[answer.index] for answer in answers]
            chosen = draw(logits, sampling.temperature, sampling.top_p, own)
        # From the end, so that an answer that moves to a free slot has already been handled.
        for row in reversed(range(len(answers))):
            answer = answers[row]
            answer.length += 1
            answer.last = chosen[row]
            answer.written.append(chosen[row])
            if chosen[row] in stops or len(answer.written) == max_new_tokens:
                yield answer.index, answer.written
                final = answers.pop()
                if final is not answer:
                    answers[row] = final
                    cache.move(len(answers), row, final.length)


def _beginning(rows: Sequence[list[int]]) -> list[int]:
    """Return the common beginning of all rows."""
    # What the first and the last row in sorted order share, those between them share, too.
    first, last = min(rows), max(rows)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return [token for token, _ in same]


def _take(waiting: list[int], prompt_ids: Sequence[list[int]], shared: int, free: int) -> list[int]:
    """Remove the prompts of the next pass from the end of the waiting ones, the longest first."""
    longest = len(prompt_ids[waiting[-1]]) - 1 - shared
    count = min(len(waiting), free, max(1, _PREFILL_TOKENS // max(1, longest)))
    return [waiting.pop() for _ in range(count)]


def _step(
    model: PreTrainedModel,
    cache: Slots,
    answers: Sequence[_Answer],
    windows: Mapping[str, int | None],
) -> Tensor:
    """Return the logits of each answer's next token, ``[answers, vocab]``."""
    lengths = [answer.length for answer in answers]
    position_ids, masks = cache.begin_step(
        lengths, model.dtype, model.device, set(windows.values())
    )
    by_kind = {kind: masks[window] for kind, window in windows.items()}
    # If layers differ, a model takes a mask for each kind, else one for all.
    attention_mask = by_kind if len(by_kind) > 1 else next(iter(by_kind.values()))
    out = cast(Any, model)(
        input_ids=torch.tensor([[answer.last] for answer in answers], device=model.device),
        position_ids=position_ids,
        attention_mask=attention_mask,
        past_key_values=cache,
        use_cache=True,
    )
    return cast(Tensor, out.logits[:, -1])


def _read(
    model: PreTrainedModel, cache: DynamicCache, rows: Sequence[Sequence[int]]
) -> DynamicCache:
    """Run the model over tokens that follow the cache's; rows are padded on the right.

    No row attends to its padding, since that follows it.
    """
    start, width = cache.get_seq_length(), max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    positions = torch.arange(start, start + width, device=model.device)
    # Without the head, since no token is predicted here.
    cast(Any, model).base_model(
        input_ids=ids,
        position_ids=positions.expand(len(rows), -1),
        past_key_values=cache,
        use_cache=True,
    )
    return cache


def _repeated(prefix: DynamicCache, rows: int) -> DynamicCache:
    """Return a cache that contains one row `rows` times."""
    repeated = DynamicCache()
    size = (rows, -1, -1, -1)
    for index, (keys, values) in enumerate(states(prefix)):
        repeated.update(keys.expand(size), values.expand(size), index)
    return repeated
