"""Liger's fused kernels in the layers of a model: RMSNorm, rotary embeddings, SwiGLU.

Liger's own function for a type of model changes that one instance, but also the module of
transformers that defines the type, for the whole process. Here that module is restored, so that
other models keep their own layers. Before the kernels are used, they are shown to compute the same
values and gradients as the layers of the model at hand.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from inspect import signature
from types import FunctionType, MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.packed import PackedBatch, hidden_states

Kernels = Literal["auto", "liger", "none"]
_ROTARY = "apply_rotary_pos_emb"
_ALLOWED = {"values": (1e-3, 0.2), "gradients": (1e-2, 0.5)}
"""Largest difference of kernels, in 32 and in 16 bits. A wrong kernel differs by about one,
rounding to 16 bits in each of forty layers by a tenth or less."""


def runs_triton() -> bool:
    """Return whether Triton's kernels run here: on a GPU, or on a CPU in Triton's interpreter."""
    return torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"


def fuse_layers(model: PreTrainedModel, kernels: Kernels) -> str:
    """Let Liger's kernels compute a model's layers, in place, if that is wanted and correct.

    Weights, their names and modules do not change. Only the ``forward`` of a module does, so that
    hooks, recomputation and ZeRO-3's gathers work as before.

    Parameters
    ----------
    model : PreTrainedModel
        The whole model, on the device that it will run on, with packed attention.
    kernels : {"auto", "liger", "none"}
        ``auto`` uses Liger if it is installed, knows the type of the model, and is correct.

    Returns
    -------
    str
        Which kernels run, for the log.

    Raises
    ------
    ConfigError
        If `kernels` is ``liger`` but cannot be used.
    """
    name = model.config.model_type
    if kernels == "none":
        return f"kernels of {name}: its own layers"
    missing = _missing(name)
    if missing is None:
        liger = f"Liger {version('liger-kernel')}"
        before = [(module, dict(vars(module))) for module in model.modules()]
        expected = _probe(model)
        try:
            fused = _apply(model)
            off = _off(expected, _probe(model))
            narrow = model.dtype.itemsize < 4
            told = " and ".join(f"{what} by {value:.1e}" for what, value in off.items())
            if all(value <= _ALLOWED[what][narrow] for what, value in off.items()):
                return f"kernels of {name}: {liger}, {fused}; off in {told}"
            missing = f"{liger} does not fit {name}: it is off in {told}"
        # Any error that another library raises for a model that does not fit.
        except Exception as error:
            missing = f"{liger} does not fit {name}: {type(error).__name__}: {error}"
        for module, own in before:
            vars(module).clear()
            vars(module).update(own)
    if kernels == "liger":
        raise ConfigError(f"kernels liger: {missing}; use auto or none")
    return f"kernels of {name}: its own layers, since {missing}"


def _missing(model_type: str) -> str | None:
    """Return why Liger cannot be used for a type of model, or None."""
    if not runs_triton():
        return "there is no GPU"
    if not find_spec("liger_kernel"):
        return "Liger is not installed: pip install 'wmss[gpu]'"
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    if model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return f"Liger {version('liger-kernel')} does not know {model_type}"
    return None


def _apply(model: PreTrainedModel) -> str:
    """Change only this instance, and return how many of its modules use which Liger kernel."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    apply = MODEL_TYPE_TO_APPLY_LIGER_FN[model.config.model_type]
    # The loss is our own. Every other choice is Liger's default for the type.
    losses = {"cross_entropy", "fused_linear_cross_entropy"} & signature(apply).parameters.keys()
    files = {sys.modules[type(module).__module__] for module in model.modules()}
    before = [(file, dict(vars(file))) for file in files]
    try:
        apply(model=model, **dict.fromkeys(losses, False))
        rotary = {
            id(vars(file)): vars(file)[_ROTARY]
            for file, own in before
            if vars(file).get(_ROTARY) is not own.get(_ROTARY)
        }
    finally:
        for file, own in before:
            vars(file).update(own)
    # Liger sets another name on each module that it changes, for `print(model)`.
    fused = Counter(module._get_name() for module in model.modules() if "_get_name" in vars(module))
    for module in model.modules():
        forward = type(module).forward
        place = id(getattr(forward, "__globals__", None))
        if place in rotary and _ROTARY in forward.__code__.co_names:
            vars(module)["forward"] = _with_names(module, {_ROTARY: rotary[place]})
            fused["rotary embeddings"] += 1
    return ", ".join(f"{count} {what}" for what, count in sorted(fused.items()))


def _with_names(module: nn.Module, names: Mapping[str, Any]) -> MethodType:
    """Return a module's ``forward`` in which some global names mean something else."""
    own: Any = type(module).forward
    changed = FunctionType(
        own.__code__, {**own.__globals__, **names}, own.__name__, own.__defaults__, own.__closure__
    )
    changed.__kwdefaults__ = own.__kwdefaults__
    return MethodType(changed, module)


def _probe(model: PreTrainedModel) -> list[Tensor]:
    """Return hidden states of two short documents and, if it trains, a gradient through all."""
    ids = torch.arange(7, device=model.device) % model.config.get_text_config().vocab_size
    lengths = (3, 4)
    places = torch.cat([torch.arange(length, device=model.device) for length in lengths])
    batch = PackedBatch(ids, places, lengths, torch.arange(7, device=model.device), ids)
    norms = [p for p in model.base_model.parameters() if p.requires_grad and p.ndim == 1]
    was_training = model.training
    model.eval()
    with torch.set_grad_enabled(bool(norms)):
        hidden = hidden_states(model, batch)
        found = [hidden.detach()]
        if norms:
            weights = torch.linspace(-1, 1, hidden.numel(), device=hidden.device)
            total = (hidden.flatten() * weights.to(hidden.dtype)).sum()
            gradients = torch.autograd.grad(total, norms, allow_unused=True)
            # From the first layer, so that it has passed through the backward pass of all others.
            found += [gradient for gradient in gradients if gradient is not None][:1]
    model.train(was_training)
    return found


def _off(expected: list[Tensor], found: list[Tensor]) -> dict[str, float]:
    """Return, by name, the norm of the difference divided by that of the expected value."""
    return {
        what: float((fused.double() - own.double()).norm() / own.double().norm().clamp_min(1e-30))
        for what, own, fused in zip(_ALLOWED, expected, found, strict=False)
    }
