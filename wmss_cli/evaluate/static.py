"""Greedy generation in slots: a finished answer gives its place to the next prompt."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache, PreTrainedModel

from wmss_cli.evaluate.slots import Slots

_PREFILL_TOKENS = 2048
"""Most positions in a pass over new prompts, unless one prompt alone is longer."""


@dataclass
class _Answer:
    """A prompt on its way to an answer; all but its last token are in the cache."""

    index: int
    length: int
    last: int
    written: list[int] = field(default_factory=list)


@torch.inference_mode()
def write_static(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    stop_token_ids: Sequence[int],
    slots: int,
) -> Iterator[tuple[int, list[int]]]:
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    prefix = os.path.commonprefix([prompt[:-1] for prompt in prompts])
    cache = Slots(_prefill(model, DynamicCache(), [prefix]), min(slots, len(prompts)))
    pre = _prefill(model, DynamicCache(), [prefix])
    stops = set(stop_token_ids)
    active: list[_Answer] = []
    waiting = order[::-1]
    while waiting or active:
        while waiting and len(active) < slots:
            i = []
            w = len(prompts[waiting[-1]]) - 1 - len(prefix)
            while (
                waiting
                and len(active) + len(i) < slots
                and (not i or (len(i) + 1) * w <= _PREFILL_TOKENS)
            ):
                i.append(waiting.pop())
            if w:
                c = DynamicCache()
                for l, layer in enumerate(pre.layers):
                    c.update(
                        layer.keys.expand(len(i), -1, -1, -1),
                        layer.values.expand(len(i), -1, -1, -1),
                        l,
                    )
                cache.fill(
                    len(active), _prefill(model, c, [prompts[x][len(prefix) : -1] for x in i])
                )
            active += [_Answer(x, len(prompts[x]) - 1, prompts[x][-1]) for x in i]
        pos, mask = cache.begin_step([a.length for a in active])
        ids = torch.tensor([[a.last] for a in active])
        out = (
            model(
                input_ids=ids,
                position_ids=pos,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
            )
            .logits[:, -1]
            .argmax(-1)
            .tolist()
        )
        for row in reversed(range(len(active))):
            a = active[row]
            a.length += 1
            a.last = out[row]
            a.written.append(a.last)
            if a.last in stops or len(a.written) == max_new_tokens:
                yield a.index, a.written
                end = active.pop()
                if end is not a:
                    active[row] = end
                    cache.move(len(active), row, end.length)


def _prefill(model, cache, rows):
    start = cache.get_seq_length()
    width = max(map(len, rows))
    ids = torch.tensor([r + [0] * (width - len(r)) for r in rows])
    model.base_model(
        input_ids=ids,
        position_ids=torch.arange(start, start + width).expand(len(rows), -1),
        past_key_values=cache,
        use_cache=True,
    )
    return cache
