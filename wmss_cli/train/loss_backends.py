"""The mixed loss with other libraries' fused ops, as one linear cross entropy.

z_mix = [lambda * h_strong ; (1 - lambda) * h_weak] · [W_strong ; W_weak]ᵀ: hidden states and heads
are concatenated, and the op sees one model. That copies both heads in every pass.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from inspect import signature
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.heads import Head
from wmss_cli.models.kernels import runs_triton
from wmss_cli.train.objectives.chunks import TokenLoss
from wmss_cli.train.objectives.mixed import mixed_cross_entropy

Backend = Literal["auto", "chunked", "torch", "liger", "cce"]
TokenLosses = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(hidden states ``[tokens, hidden]``, head ``[vocab, hidden]``, targets) to ``[tokens]``."""


def choose(backend: Backend) -> Backend:
    """Return what ``auto`` means: our own op, and no other library's.

    The others need about 4.5 products where ours needs 3: the forward product, the model's own
    loss, the logits again, and two gradients.

    Raises
    ------
    ConfigError
        If the backend is not installed, or needs a GPU and there is none.
    """
    gpu = runs_triton()
    modules = {"cce": "cut_cross_entropy", "liger": "liger_kernel"}
    if backend == "auto":
        return "chunked"
    if backend in modules and not gpu:
        raise ConfigError(f"loss_backend {backend} needs a GPU; use auto or chunked here")
    if backend in modules and not find_spec(modules[backend]):
        raise ConfigError(f"loss_backend {backend} is not installed: pip install 'wmss[gpu]'")
    if backend == "torch" and not hasattr(F, "linear_cross_entropy"):
        raise ConfigError("loss_backend torch needs torch 2.13 or newer; use auto or chunked")
    return backend


def mixed_loss(
    backend: Backend,
    strong: Tensor,
    strong_head: Head,
    targets: Tensor,
    weak: Tensor | None = None,
    weak_head: Head | None = None,
    mix_lambda: float = 1.0,
    logits_bytes: int | None = None,
) -> TokenLoss:
    """Compute the mixed loss by a backend that :func:`choose` returned.

    The arguments are those of :func:`~wmss_cli.train.objectives.mixed.mixed_cross_entropy`, and all
    backends return the same up to rounding. Our own op also takes batches without targets, from a
    rank without samples, which the fused ops cannot divide into chunks.

    Raises
    ------
    ConfigError
        If another backend gets a head that is more than a product.
    """
    if backend == "chunked" or not len(targets):
        return mixed_cross_entropy(
            strong, strong_head, targets, weak, weak_head, mix_lambda, logits_bytes
        )
    heads = [strong_head] if weak_head is None else [strong_head, weak_head]
    if not all(head.is_product for head in heads):
        raise ConfigError(
            f"loss_backend {backend} does not compute capped or biased logits; use auto or chunked"
        )
    token_losses = _OPS[backend]
    hidden, head = mix_lambda * strong_head.scale * strong, strong_head.weight
    if weak is not None and weak_head is not None:
        hidden = torch.cat([hidden, (1.0 - mix_lambda) * weak_head.scale * weak], dim=1)
        head = torch.cat([strong_head.weight, weak_head.weight], dim=1)
    per_token = token_losses(hidden, head, targets)
    own = per_token.detach()
    if weak is not None or mix_lambda != 1.0:
        with torch.no_grad():
            own = token_losses(strong_head.scale * strong, strong_head.weight, targets)
    return TokenLoss(per_token.sum(), per_token.detach(), own)


def _torch(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    options = cast(Any, torch.nn).LinearCrossEntropyOptions()
    op = cast(Any, F).linear_cross_entropy
    return cast(Tensor, op(hidden, head, targets, reduction="none", options=options))


def _liger(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    op = LigerFusedLinearCrossEntropyLoss(reduction="none", accum_dtype=torch.float32)
    return cast(Tensor, op(head, hidden, targets))


def _cce(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    if hidden.dtype.itemsize != 2:
        raise ConfigError(
            "loss_backend cce computes in 16 bits only; use precision bf16, or chunked"
        )
    op = cast(Any, linear_cross_entropy)
    # By default it drops gradients that are small in bf16. The package on PyPI (25.1) has only this
    # option to keep them all, and adds them in bf16, where newer sources can use fp32.
    exact: dict[str, Any] = {"filter_eps": None}
    for wide in ("accum_e_fp32", "accum_c_fp32"):
        if wide in signature(op).parameters:
            exact[wide] = True
    return cast(Tensor, op(hidden, head, targets, reduction="none", impl="cce", **exact))


_OPS: dict[str, TokenLosses] = {"torch": _torch, "liger": _liger, "cce": _cce}
