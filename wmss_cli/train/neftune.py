"""NEFTune: uniform noise on the embeddings while a model trains (Jain et al., arXiv 2310.05914)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from wmss_cli.models.packed import PackedBatch, packs
from wmss_cli.train.keyed_random import Purpose, further, stream, symmetric


def embedding_noise(
    batch: PackedBatch, hidden_size: int, alpha: float, seed: int, step: int
) -> Tensor:
    """Return noise that is uniform in ±alpha/√(L·d) for each token, ``[tokens, hidden]``, fp32.

    Parameters
    ----------
    batch : PackedBatch
        A batch with keys. L is the length of a document in it, prompt and completion together.
    hidden_size : int
        d.
    alpha : float
        5 in the paper's Table 1.
    seed, step : int
        Each optimizer step has new noise; within a step, noise is a function of the example, the
        position and the dimension.
    """
    assert batch.keys is not None
    lengths = torch.tensor(batch.lengths, device=batch.keys.device)
    scale = alpha / (lengths.repeat_interleave(lengths).float() * hidden_size).sqrt()
    bits = further(stream(batch.keys, Purpose.NEFTUNE, seed, step), hidden_size)
    return symmetric(bits).mul_(scale[:, None])


@contextmanager
def noisy_embeddings(
    model: PreTrainedModel, batch: PackedBatch, alpha: float, seed: int, step: int
) -> Iterator[None]:
    """Add the noise to the output of the embedding module, if the model is in training mode.

    As in NEFTune's own code, noise is added after the module. If the module scales the embeddings
    (Gemma), the noise is not scaled with them.
    """
    if alpha == 0.0 or not model.training:
        yield
        return

    def add(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
        noise = embedding_noise(batch, embedded.shape[-1], alpha, seed, step).to(embedded.dtype)
        if packs(model):
            return embedded + noise
        placed = torch.zeros_like(embedded)
        placed[batch.rows, batch.position_ids] = noise
        return embedded + placed

    handle = model.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
