"""Export a model from the engine as full weights, however ZeRO divides them."""

from __future__ import annotations

import deepspeed
from torch import Tensor
from transformers import PreTrainedModel


def full_state_dict(model: PreTrainedModel, is_first: bool) -> dict[str, Tensor]:
    """Return the full weights on the CPU of the first rank, and nothing on the others.

    All ranks must call this: under ZeRO-3 the weights are gathered, one at a time.

    Parameters
    ----------
    model : PreTrainedModel
        A model of the pair; its weights may be sharded.
    is_first : bool
        Whether this rank keeps the weights.
    """
    state: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            if is_first:
                state[name] = parameter.detach().cpu().clone()
    if is_first:
        persistent = (
            model.state_dict().keys() - dict(model.named_parameters(remove_duplicate=False)).keys()
        )
        buffers = dict(model.named_buffers())
        state |= {name: buffers[name].detach().cpu().clone() for name in sorted(persistent)}
    return state
