"""Attention within each document of a packed row, as an implementation that transformers calls.

Models that take their attention from the registry of transformers pass on what they need from it:
windows, score caps and sinks.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
import torch.nn.attention
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, PreTrainedModel

ATTENTION = "wmss_packed"

_DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
_HOPPER = 9
_FLASH_HEAD = 256
"""Flash attention supports head sizes up to this one, in steps of 8."""


def _packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **borders: Any,
) -> tuple[Tensor, None]:
    """Attend within each document; query ``[1, heads, tokens, head size]``."""
    assert attention_mask is None
    lengths = borders["document_lengths"]
    window = sliding_window if sliding_window and sliding_window < max(lengths) else None
    plain = softcap is None and s_aux is None
    if plain and dropout == 0.0 and _flash_does(query, value):
        ends = borders["document_ends"]
        return _varlen(query, key, value, ends, max(lengths), scaling, window), None
    parts = []
    splits = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    for q, k, v in zip(*splits, strict=True):
        if plain:
            out = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=None if window is None else _band(q.shape[2], window, q.device),
                is_causal=window is None,
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=True,
            )
        else:
            scale = q.shape[-1] ** -0.5 if scaling is None else scaling
            # The scores [heads, length, length] are computed again in the backward pass.
            out = cast(
                Tensor,
                checkpoint(
                    _scored, q, k, v, s_aux, scale, softcap, window, dropout, use_reentrant=False
                ),
            )
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _scored(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sinks: Tensor | None,
    scale: float,
    cap: float | None,
    window: int | None,
    dropout: float,
) -> Tensor:
    """Attend within one document with capped scores (Gemma 2), or with sinks (GPT-OSS)."""
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(groups, dim=1) for tensor in (key, value))
    scores = query @ key.transpose(2, 3) * scale
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    length = query.shape[2]
    seen = _band(length, window or length, query.device)
    scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
    if sinks is not None:
        # The score of no token: it takes its share of the attention and contributes nothing.
        beside = sinks.reshape(1, -1, 1, 1).expand(len(scores), -1, length, 1)
        scores = torch.cat([scores, beside.to(scores.dtype)], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return F.dropout(weights[..., :length], dropout) @ value


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Return what each token attends to, ``[length, length]``: the last `window`, with itself."""
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


def _flash_does(query: Tensor, value: Tensor) -> bool:
    """Return whether flash attention can take all documents at once: on a GPU, in 16 bits."""
    size = query.shape[-1]
    fits = size == value.shape[-1] and size <= _FLASH_HEAD and size % 8 == 0
    return _VARLEN is not None and query.is_cuda and query.dtype.itemsize == 2 and fits


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Run flash attention over all documents at once, on a GPU in 16 bits."""
    q, k, v = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    out = _VARLEN(
        q,
        k,
        v,
        ends,
        ends,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0) if window is None else (window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return cast(Tensor, out).unsqueeze(0)


def _varlen_attention() -> Any:
    """Return torch's flash attention over documents, or None if torch is too old for it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "enable_gqa" in inspect.signature(varlen_attn).parameters else None


def attention_dropout(model: PreTrainedModel) -> float:
    """Return the dropout of a model's attention during training."""
    config = model.config.get_text_config()
    return max(float(getattr(config, name, None) or 0.0) for name in _DROPOUTS)


def choose_flash(device: torch.device, dropout: float = 0.0) -> str | None:
    """Let torch use FlashAttention 3 on Hopper, where it is twice as fast as its own version 2.

    This applies to all attention in the process.

    Parameters
    ----------
    device : torch.device
        The device on which the model will run.
    dropout : float
        Dropout of the model's attention, which version 3 does not support.

    Returns
    -------
    str or None
        What was done, for the log; None if there is no choice.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] != _HOPPER:
        return None
    activate: Any = getattr(torch.nn.attention, "activate_flash_attention_impl", None)
    if activate is None:
        return f"attention: FlashAttention 2, since torch {torch.__version__} has no other"
    if dropout > 0.0:
        cast(Any, torch.nn.attention).restore_flash_attention_impl()
        return "attention: FlashAttention 2, since version 3 has no dropout"
    try:
        activate("FA3")
    # Not installed, built for another version of torch, or unknown to this one.
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        return f"attention: FlashAttention 2, half as fast here as 3 (flash-attn-3: {why})"
    return "attention: FlashAttention 3"


_VARLEN = _varlen_attention()
# Without it, each document is attended to separately: the same numbers, in more calls.

AttentionInterface.register(ATTENTION, _packed_attention)
