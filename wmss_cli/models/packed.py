"""A model over packed documents: one row of tokens, in which each document sees only itself.

Nothing is padded. Position ids begin anew with each document, and attention is given the
documents' borders. All models of transformers that take their attention from its registry can do
this; :func:`check_packing` proves it for the one at hand.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, PreTrainedModel

from wmss_cli.core.errors import ConfigError

ATTENTION = "wmss_packed"


@dataclass(frozen=True)
class PackedBatch:
    """Documents one after the other in one row.

    Attributes
    ----------
    input_ids, position_ids : Tensor
        ``[tokens]``.
    lengths : tuple of int
        Tokens of each document; their sum is `tokens`.
    predicting : Tensor
        ``[completion tokens]``: where the logits that predict the completions' tokens stand.
        Position t - 1 predicts token t.
    targets : Tensor
        ``[completion tokens]``: these tokens.
    keys : Tensor or None
        ``[tokens]``, int64: a hash of the example and the position in it, for random numbers that
        do not depend on what a token is packed with.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: tuple[int, ...]
    predicting: Tensor
    targets: Tensor
    keys: Tensor | None = None

    def to(self, device: torch.device) -> PackedBatch:
        """Return the batch on a device."""
        moved = (self.input_ids, self.position_ids, self.predicting, self.targets)
        ids, positions, predicting, targets = (tensor.to(device) for tensor in moved)
        keys = None if self.keys is None else self.keys.to(device)
        return PackedBatch(ids, positions, self.lengths, predicting, targets, keys)

    @property
    def target_keys(self) -> Tensor:
        """The key of each target, ``[completion tokens]``: that of the position predicting it."""
        assert self.keys is not None
        return self.keys[self.predicting]


def hidden_states(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Return the last hidden states that predict the completions, ``[completion tokens, hidden]``.

    Parameters
    ----------
    model : PreTrainedModel
        Prepared by :func:`pack_attention`.
    batch : PackedBatch
        On the model's device.
    """
    backbone = cast(Any, model).base_model
    ends = torch.tensor([0, *accumulate(batch.lengths)], dtype=torch.int32)
    out = backbone(
        input_ids=batch.input_ids.unsqueeze(0),
        position_ids=batch.position_ids.unsqueeze(0),
        use_cache=False,
        document_lengths=list(batch.lengths),
        document_ends=ends.to(batch.input_ids.device, non_blocking=True),
    )
    return cast(Tensor, out.last_hidden_state.squeeze(0)[batch.predicting])


def head_weight(model: PreTrainedModel) -> Tensor:
    """Return the weights of the head, ``[vocab, hidden]``; tied or not."""
    return cast(Tensor, cast(Any, model).get_output_embeddings().weight)


def pack_attention(model: PreTrainedModel) -> None:
    """Let a model keep the documents apart that :func:`hidden_states` gives it."""
    model.set_attn_implementation(ATTENTION)


@torch.no_grad()
def check_packing(model: PreTrainedModel) -> None:
    """Prove on two short documents that packing and the bare head give the model's own logits.

    Raises
    ------
    ConfigError
        If they do not: weights are not finite, the model caps or scales its logits, or does not
        take its attention from the registry of transformers.
    """
    own = model.config._attn_implementation
    was_training = model.training
    model.eval()
    try:
        fits = _packs(model)
    # What a model says that knows no such attention.
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError):
        fits = False
    model.train(was_training)
    if not fits:
        broken = [name for name, p in model.named_parameters() if not p.isfinite().all()]
        if broken:
            raise ConfigError(
                f"{len(broken)} weights of the model are not finite ({broken[0]}); take them from "
                "another checkpoint"
            )
        raise ConfigError(
            f"{model.config.model_type}: packed documents do not give this model's own logits (it "
            "caps or scales them, or has an attention of its own); wmss can neither train nor "
            "score it: choose another model"
        )
    model.set_attn_implementation(own)


def _packs(model: PreTrainedModel) -> bool:
    """Tell whether the logits of two packed documents are those of each by itself."""
    ids = torch.arange(7) % model.config.get_text_config().vocab_size
    documents = [ids[:3], ids[2:]]
    # The model's own code: fused attention may leave out what it caps.
    model.set_attn_implementation("eager")
    expected = torch.cat([cast(Any, model)(i.unsqueeze(0)).logits[0] for i in documents])
    pack_attention(model)
    packed = torch.cat(documents)
    batch = PackedBatch(
        packed,
        torch.cat([torch.arange(len(i)) for i in documents]),
        tuple(len(i) for i in documents),
        torch.arange(len(packed)),
        packed,
    )
    found = hidden_states(model, batch) @ head_weight(model).T
    # Rounding alone: a document that sees its neighbour is off by far more.
    tolerance = 1e-3 if found.dtype.itemsize >= 4 else 5e-2
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max().clamp_min(1e-3))


def _packed_attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **borders: Any,
) -> tuple[Tensor, None]:
    """Attend within each document; query ``[1, heads, tokens, head size]``."""
    assert attention_mask is None
    if borders.get("softcap") is not None or borders.get("s_aux") is not None:
        raise ValueError("capped attention and attention sinks cannot be packed")
    lengths = borders["document_lengths"]
    window = sliding_window if sliding_window and sliding_window < max(lengths) else None
    if _VARLEN is not None and query.is_cuda and query.dtype.itemsize == 2 and dropout == 0.0:
        ends = borders["document_ends"]
        return _varlen(query, key, value, ends, max(lengths), scaling, window), None
    parts = []
    splits = (tensor.split(lengths, dim=2) for tensor in (query, key, value))
    for q, k, v in zip(*splits, strict=True):
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
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1), None


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """Return who sees whom, ``[length, length]``: the last `window` tokens, itself included."""
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends: Tensor,
    longest: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Flash attention over all documents at once, on a GPU in 16 bits."""
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
    """Return torch's flash attention over documents, or None where torch is too old for it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "enable_gqa" in inspect.signature(varlen_attn).parameters else None


_VARLEN = _varlen_attention()
# Without it, each document is attended to by itself: the same numbers, in more calls.

AttentionInterface.register(ATTENTION, _packed_attention)
