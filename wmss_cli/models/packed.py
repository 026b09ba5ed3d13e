"""A model over documents that stand in one row of tokens, and of which each sees only itself.

Nothing is padded. Position ids begin anew with each document, and attention is given the
documents' borders. A model that cannot keep documents apart (see :mod:`wmss_cli.models.forms`)
reads the same batch with each document in a row of its own, padded to the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from wmss_cli.models.attention import ATTENTION


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

    @property
    def rows(self) -> Tensor:
        """The document that each token is in, from 0, ``[tokens]``."""
        lengths = torch.tensor(self.lengths, device=self.input_ids.device)
        documents = torch.arange(len(lengths), device=lengths.device)
        # A GPU need not be asked how many they are.
        return documents.repeat_interleave(lengths, output_size=len(self.input_ids))


def hidden_states(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Return the last hidden states that predict the completions, ``[completion tokens, hidden]``.

    Parameters
    ----------
    model : PreTrainedModel
        Any; it reads one row where :func:`pack_attention` prepared it, else a row a document.
    batch : PackedBatch
        On the model's device.
    """
    if not packs(model):
        # What is behind a document's end is not seen by it: padding needs no mask.
        rows, places = batch.rows, batch.position_ids
        ids = batch.input_ids.new_zeros(len(batch.lengths), max(batch.lengths))
        ids[rows, places] = batch.input_ids
        return _before_head(model, input_ids=ids)[rows[batch.predicting], places[batch.predicting]]
    ends = torch.tensor([0, *accumulate(batch.lengths)], dtype=torch.int32)
    ends = ends.to(batch.input_ids.device, non_blocking=True)
    longest = max(batch.lengths)
    borders = {
        "document_lengths": list(batch.lengths),
        "document_ends": ends,
        # The names under which transformers hands borders to delta rules and convolutions.
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
        "seq_idx": batch.rows.int().unsqueeze(0),
    }
    hidden = _before_head(
        model,
        input_ids=batch.input_ids.unsqueeze(0),
        position_ids=batch.position_ids.unsqueeze(0),
        **borders,
    )
    return hidden.squeeze(0)[batch.predicting]


def _before_head(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """Return what the head multiplies, ``[rows, length, hidden]``."""
    if not has_layers_before_head(model):
        return cast(Tensor, backbone(model)(use_cache=False, **inputs)[0])
    head = cast(nn.Module, model.get_output_embeddings())
    given: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        given.append(hidden)
        # What the model does with its logits is not asked for, and need not cost a vocabulary.
        return hidden[..., :1]

    wrapped = vars(head).get("forward")
    head.forward = take
    try:
        model(use_cache=False, **inputs)
    finally:
        if wrapped is None:
            del head.forward
        else:
            head.forward = wrapped
    return given[0]


def has_layers_before_head(model: PreTrainedModel) -> bool:
    """Say whether layers stand between the last hidden states and the head (BERT's transform)."""
    return bool(getattr(model, "_wmss_layers_before_head", False))


def set_layers_before_head(model: PreTrainedModel, there: bool) -> None:
    """Let :func:`hidden_states` go through such layers, or not."""
    cast(Any, model)._wmss_layers_before_head = there


def backbone(model: PreTrainedModel) -> nn.Module:
    """Return the part that gives the last hidden states of text; of a multimodal model, too."""
    whole = cast(Any, model)
    is_multimodal = model.config.get_text_config() is not model.config
    part = whole.get_decoder() if is_multimodal else whole.base_model
    # A few classes do not find their own (Llama 4).
    return cast(nn.Module, whole.model if part is model else part)


def blocks_of(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """Return the blocks that transformers can recompute, in their order."""
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


def packs(model: PreTrainedModel) -> bool:
    """Say whether :func:`pack_attention` prepared the model."""
    return bool(model.config.get_text_config()._attn_implementation == ATTENTION)


def pack_attention(model: PreTrainedModel) -> None:
    """Let a model keep the documents apart that :func:`hidden_states` gives it in one row."""
    model.set_attn_implementation(ATTENTION)
