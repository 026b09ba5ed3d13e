"""A model over documents packed into one row of tokens, each of which attends only to itself.

There is no padding. Position ids restart with each document, and attention is given the
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
    """Documents one after another in one row.

    Attributes
    ----------
    input_ids, position_ids : Tensor
        ``[tokens]``.
    lengths : tuple of int
        Length of each document; the sum is `tokens`.
    predicting : Tensor
        ``[completion tokens]``: the positions whose logits predict the completions' tokens.
        Position t - 1 predicts token t.
    targets : Tensor
        ``[completion tokens]``: the tokens to predict.
    keys : Tensor or None
        ``[tokens]``, int64: a hash of the example and of the position in it, for random numbers
        that do not depend on what a token is packed with.
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
        # So a GPU does not have to report how many there are.
        return documents.repeat_interleave(lengths, output_size=len(self.input_ids))


def hidden_states(model: PreTrainedModel, batch: PackedBatch) -> Tensor:
    """Return the last hidden states that predict the completions, ``[completion tokens, hidden]``.

    Parameters
    ----------
    model : PreTrainedModel
        Any; it reads one row if :func:`pack_attention` prepared it, else one row per document.
    batch : PackedBatch
        On the model's device.
    """
    if not packs(model):
        # A document does not attend to what follows it, so padding needs no mask.
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
        # The names under which transformers passes borders to delta rules and convolutions.
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
    """Return the input of the head, ``[rows, length, hidden]``."""
    if not has_layers_before_head(model):
        return cast(Tensor, backbone(model)(use_cache=False, **inputs)[0])
    head = cast(nn.Module, model.get_output_embeddings())
    given: list[Tensor] = []

    def take(hidden: Tensor) -> Tensor:
        given.append(hidden)
        # The model's own logits are not needed, and should not cost a whole vocabulary.
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
    """Return whether there are layers between the last hidden states and the head (BERT)."""
    return bool(getattr(model, "_wmss_layers_before_head", False))


def set_layers_before_head(model: PreTrainedModel, there: bool) -> None:
    """Make :func:`hidden_states` include such layers, or not."""
    cast(Any, model)._wmss_layers_before_head = there


def backbone(model: PreTrainedModel) -> nn.Module:
    """Return the part that computes the last hidden states of text, also for multimodal models."""
    whole = cast(Any, model)
    is_multimodal = model.config.get_text_config() is not model.config
    part = whole.get_decoder() if is_multimodal else whole.base_model
    # A few classes do not return their own (Llama 4).
    return cast(nn.Module, whole.model if part is model else part)


def blocks_of(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """Return the blocks that transformers can recompute, in order."""
    return [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]


def packs(model: PreTrainedModel) -> bool:
    """Return whether :func:`pack_attention` prepared the model."""
    return bool(model.config.get_text_config()._attn_implementation == ATTENTION)


def pack_attention(model: PreTrainedModel) -> None:
    """Make a model keep apart the documents that :func:`hidden_states` gives it in one row."""
    model.set_attn_implementation(ATTENTION)
