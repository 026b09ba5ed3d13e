"""How a model reads documents, proven before it trains: packed in one row, or one per row.

All models that take their attention from the registry of transformers can pack. Layers other than
attention can, if their kernels are told the borders. Every causal model can read rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.heads import Head, candidates, remember
from wmss_cli.models.packed import (
    PackedBatch,
    blocks_of,
    hidden_states,
    pack_attention,
    packs,
    set_layers_before_head,
)

Form = Literal["packed", "rows"]

_WINDOWS = ("sliding_window", "attention_chunk_size")
_HIDDEN_WINDOWS = ("attention_types", "attention_window")
# Of GPT-Neo and others, which keep windows in tables that the attention is not told about.
_SHORT = 3
_LEAK = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
"""Effect of a token on another document that rounding may cause, relative to its own."""


@torch.no_grad()
def choose_form(model: PreTrainedModel, device: torch.device | None = None) -> Form:
    """Find a way of reading two short documents that gives each one the model's own logits.

    Leaves the model prepared for that way (see :func:`~wmss_cli.models.packed.hidden_states`), with
    blocks that text does not enter (Mllama's for images) frozen. If a model cannot pack, a line in
    the log says why.

    Parameters
    ----------
    model : PreTrainedModel
        The model, on the CPU.
    device : torch.device, optional
        Where the model will run, with the kernels that it will use: the proof is done there.

    Raises
    ------
    ConfigError
        If the model has no language-model head, has weights that are not finite, or is not causal.
    """
    own = model.config._attn_implementation
    was_training = model.training
    model.eval()
    torch.nn.Module.to(model, device or torch.device("cpu"))
    try:
        with _frozen_where_text_does_not_go(model):
            expected, head = _own_logits(model)
        reason = _why_not_packed(model, expected, head)
        if reason is None:
            return "packed"
        for attention in (own, "eager"):
            model.set_attn_implementation(attention)
            if _agree(_through(model, head), expected):
                break
        else:
            raise ConfigError(
                f"{model.config.model_type}: padding after a document changes its logits; use "
                "another causal language model"
            )
    finally:
        model.train(was_training)
        torch.nn.Module.to(model, torch.device("cpu"))
    if os.environ.get("RANK", "0") == "0":
        said = (
            f"{model.config.model_type}: samples cannot be packed ({reason}); each is a row of its "
            "own, padded to the longest of its pass"
        )
        print(said, flush=True)  # noqa: T201 - goes to the log of the stage
    return "rows"


@contextmanager
def _frozen_where_text_does_not_go(model: PreTrainedModel) -> Iterator[None]:
    """Freeze the blocks that nothing enters: weight decay would silently shrink them."""
    entered: set[int] = set()
    blocks = blocks_of(model)
    hooks = [b.register_forward_hook(lambda block, *_: entered.add(id(block))) for b in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for block in blocks:
        if id(block) not in entered:
            block.requires_grad_(False)


def _own_logits(model: PreTrainedModel) -> tuple[Tensor, Head]:
    """Return the logits of each document by itself, and the head that computes them."""
    # The model's own code, since fused attention may skip the model's caps.
    model.set_attn_implementation("eager")
    heads = candidates(model)
    _refuse_looking_ahead(model)
    alone = [_batch([document]) for document in _documents(model)]
    expected = torch.cat(
        [cast(Any, model)(input_ids=batch.input_ids[None]).logits[0] for batch in alone]
    )
    first = heads[0]
    for layers_before_head in (False, True):
        set_layers_before_head(model, layers_before_head)
        hidden = torch.cat([hidden_states(model, batch) for batch in alone])
        if first.weight.shape != (expected.shape[1], hidden.shape[1]):
            continue
        product = hidden @ first.weight.T
        ratio = float((product * expected).sum() / product.square().sum())
        for head in [*heads, Head(first.weight, first.bias, ratio)]:
            if _agree(head.logits(hidden), expected):
                remember(model, head)
                return expected, head
    broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
    if broken:
        raise ConfigError(
            f"{len(broken)} weights of the model are not finite ({broken[0]}); take them from "
            "another checkpoint"
        )
    raise ConfigError(
        f"{model.config.model_type}: its logits are not a head's product with its last hidden "
        "states, scaled or capped as config.json says; use a causal language model"
    )


def _refuse_looking_ahead(model: PreTrainedModel) -> None:
    ids = _documents(model)[1]
    changed = torch.cat([ids[:-1], ids[:1]])
    first, second = (cast(Any, model)(input_ids=row[None]).logits[0] for row in (ids, changed))
    # Relative to the token's effect at its own position: with random weights both are small.
    *before, effect = (first - second).abs().amax(dim=1)
    if max(before) > _LEAK.get(first.dtype, 1e-5) * effect:
        raise ConfigError(
            f"{model.config.model_type}: a token's logits depend on what comes after it; use a "
            "causal language model"
        )


@torch.no_grad()
def can_pack(model: PreTrainedModel) -> bool:
    """Return whether a model keeps documents in one row apart; the model is not changed.

    Parameters
    ----------
    model : PreTrainedModel
        The model, in evaluation mode, on its device.
    """
    own = model.config._attn_implementation
    try:
        expected, head = _own_logits(model)
        return _try_packed(model, expected, head) is None
    finally:
        model.set_attn_implementation(own)


def _why_not_packed(model: PreTrainedModel, expected: Tensor, head: Head) -> str | None:
    """Return why the model cannot pack, or None if it can."""
    reason = _try_packed(model, expected, head)
    if reason is not None:
        return reason
    if any(getattr(model.config.get_text_config(), name, None) for name in _HIDDEN_WINDOWS):
        return "its attention is not told the windows"
    # No document here is as long as a real window.
    with _short_windows(model):
        model.set_attn_implementation("eager")
        alone = [_batch([document]) for document in _documents(model)]
        expected = torch.cat([head.logits(hidden_states(model, batch)) for batch in alone])
        return _try_packed(model, expected, head)


@contextmanager
def _short_windows(model: PreTrainedModel) -> Iterator[None]:
    """Make every window of the model's attention shorter than the documents of the proof."""
    configs = (model.config, model.config.get_text_config())
    changed = []
    for owner, name in product((*configs, *model.modules()), _WINDOWS):
        value = getattr(owner, name, None)
        if isinstance(value, int) and value > _SHORT:
            changed.append((owner, name, value))
            setattr(owner, name, _SHORT)
    try:
        yield
    finally:
        for owner, name, value in changed:
            setattr(owner, name, value)


def _try_packed(model: PreTrainedModel, expected: Tensor, head: Head) -> str | None:
    """Return why the model cannot pack, or None if it can."""
    try:
        pack_attention(model)
        if not packs(model):
            return "it has its own attention"
        if not _agree(_through(model, head), expected):
            return "its layers mix documents"
        first, second = _documents(model)
        before = hidden_states(model, _batch([first, second]))
        changed = torch.cat([first[:-1], second[-1:]])
        after = hidden_states(model, _batch([changed, second]))
    # Any error of a model that knows no such attention, or no borders.
    except Exception as error:
        if isinstance(error, KeyError):
            return "its attention is not told where documents end"
        return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    effect, leak = ((after - before).abs()[part].max() for part in _parts((first, second)))
    if leak > _LEAK.get(after.dtype, 1e-5) * effect:
        return "its layers mix documents"
    return None


def _through(model: PreTrainedModel, head: Head) -> Tensor:
    """Return the logits of both documents with the model as it is now."""
    return head.logits(hidden_states(model, _batch(_documents(model))))


def _documents(model: PreTrainedModel) -> list[Tensor]:
    device = next(model.parameters()).device
    ids = torch.arange(7, device=device) % model.config.get_text_config().vocab_size
    return [ids[:3], ids[2:]]


def _parts(documents: Sequence[Tensor]) -> list[slice]:
    first = len(documents[0])
    return [slice(0, first), slice(first, None)]


def _batch(documents: Sequence[Tensor]) -> PackedBatch:
    """Concatenate documents; every position predicts."""
    ids = torch.cat(list(documents))
    positions = torch.cat([torch.arange(len(d), device=ids.device) for d in documents])
    everywhere = torch.arange(len(ids), device=ids.device)
    return PackedBatch(ids, positions, tuple(map(len, documents)), everywhere, ids)


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Return whether logits differ only by rounding."""
    tolerance = 1e-3 if found.dtype.itemsize >= 4 else 5e-2
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1e-3))
