"""``torch.compile`` for the parts of a model's blocks: attention, MLP and norms, separately.

The block is not compiled as a whole: under recomputation transformers wraps ``forward``, and what
is compiled around that wrapper runs uncompiled. Attention over packed documents is not compiled,
and the lengths of the documents are hidden from the compiler, which would otherwise recompile for
each number of documents. So all passes run the same code, however long they are.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.attention import ATTENTION


class _Hidden:
    """A value that compiled code passes on without reading it."""

    def __init__(self, value: list[int]) -> None:
        self.value = value


def compile_blocks(model: PreTrainedModel) -> str:
    """Compile a model's blocks in place; weights and their names do not change.

    Parameters
    ----------
    model : PreTrainedModel
        A model with packed attention. Compilation happens in the first pass.

    Returns
    -------
    str
        What was done, for the log.

    Raises
    ------
    ConfigError
        If the blocks of the model cannot be identified.
    """
    name = model.config.model_type
    blocks = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
    if not blocks:
        raise ConfigError(f"compile blocks: {name} has no blocks of transformers; use none")
    _show_lengths_to_attention()
    for block in blocks:
        block.register_forward_pre_hook(_hide_lengths, with_kwargs=True)
        for part in block.children():
            part.compile(dynamic=True)
    return f"compiled: {len(blocks)} blocks of {name}"


def _hide_lengths(
    _block: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Hide the lists in a block's arguments."""
    return arguments, {
        name: _Hidden(value) if isinstance(value, list) else value for name, value in named.items()
    }


def _show_lengths_to_attention() -> None:
    """Let packed attention take hidden lists, and exclude it from compilation."""
    own = ALL_ATTENTION_FUNCTIONS[ATTENTION]
    if hasattr(own, "__wrapped__"):
        return

    @wraps(own)
    def attend(*arguments: Any, **named: Any) -> Any:
        shown = {
            name: value.value if isinstance(value, _Hidden) else value
            for name, value in named.items()
        }
        return own(*arguments, **shown)

    AttentionInterface.register(ATTENTION, torch.compiler.disable(attend))
