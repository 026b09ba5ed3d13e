"""One rank that trains with others' kernels and with our own, in Triton's interpreter.

Argument: the file for the results, by case the greatest differences, relative to the greatest value
of each quantity.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Literal

import deepspeed
import torch
import triton_on_cpu  # noqa: F401
from interpreted_layers import layer_rows
from tiny import make_tiny_model
from torch import Tensor

from wmss_cli.core.config import JointConfig
from wmss_cli.models.causal import load_packed
from wmss_cli.models.heads import Head
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.engine import build_engine, full_state_dict
from wmss_cli.train.loss_backends import Backend, choose, mixed_loss
from wmss_cli.train.pair import WeakStrongPair
from wmss_cli.train.ranks import join

# Cut Cross-Entropy takes 16 bits alone.
DTYPES: dict[Backend, torch.dtype] = {"liger": torch.float32, "cce": torch.float16}
TOKENS, VOCAB, STRONG, WEAK = 11, 83, 32, 16
LAMBDA = 0.4


def quantities(backend: Backend, case: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the losses and all gradients, in fp32."""
    generator = torch.Generator().manual_seed(3)

    def draw(rows: int, columns: int, scale: float) -> Tensor:
        # What fp16 can hold, for every backend.
        drawn = (scale * torch.randn(rows, columns, generator=generator)).half()
        return drawn.to(dtype).requires_grad_()

    tensors = {
        "strong": draw(TOKENS, STRONG, 1.0),
        "strong_head": draw(VOCAB, STRONG, 0.3),
        "weak": draw(TOKENS, WEAK, 1.0),
        "weak_head": draw(VOCAB, WEAK, 0.3),
    }
    targets = torch.randint(VOCAB, (TOKENS,), generator=generator)
    if case != "cotrained":
        del tensors["weak"], tensors["weak_head"]
    lam = 1.0 if case == "alone" else LAMBDA
    given = {n: Head(t) if n.endswith("head") else t for n, t in tensors.items()}
    loss = mixed_loss(backend, targets=targets, mix_lambda=lam, **given)
    loss.total.backward()
    found = {"per_token": loss.per_token, "own_per_token": loss.own_per_token}
    found |= {name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None}
    assert len(found) == 2 + len(tensors)
    return {name: tensor.detach().float() for name, tensor in found.items()}


def differences(backend: Backend, case: str) -> dict[str, float]:
    expected = quantities("chunked", case, torch.float32)
    found = quantities(choose(backend), case, DTYPES[backend])
    return {
        name: float((found[name] - value).abs().max() / value.abs().max())
        for name, value in expected.items()
    }


def empty_pass(pair: WeakStrongPair) -> dict[str, float]:
    """A micro-batch of which nothing is to be predicted, as packing makes them."""
    ids, nothing = torch.arange(7), torch.arange(0)
    loss, sums = pair(PackedBatch(ids, ids, (7,), nothing, nothing), 8.0)
    loss.backward()
    gradients = [p.grad for p in pair.parameters()]
    assert all(gradient is not None for gradient in gradients)
    greatest = max(float(g.abs().max()) for g in gradients if g is not None)
    return {"loss": float(loss), "sums": float(sums.abs().max()), "gradient": greatest}


def trained(model: Path, kernels: Literal["liger", "none"]) -> dict[str, Tensor]:
    """Return all weights of a pair after a step at ZeRO-3 with recomputation."""
    weak, strong = (load_packed(model, "fp32") for _ in range(2))
    config = JointConfig(
        learning_rate=1e-2, zero_stage=3, kernels=kernels, gradient_checkpointing=True, eps=1e-4
    )
    engine = build_engine(WeakStrongPair(strong, weak, LAMBDA, loss_backend="chunked"), config)
    assert all(not parameter.numel() for parameter in strong.parameters())
    ids = torch.arange(12)
    places = torch.cat([torch.arange(7), torch.arange(5)])
    predicting = torch.tensor([2, 3, 4, 8, 9])
    batch = PackedBatch(ids, places, (7, 5), predicting, ids[predicting + 1])
    engine.backward(engine(batch, 5.0)[0])
    engine.step()
    found = {
        f"{role}.{name}": tensor.clone()
        for role, one in (("weak", weak), ("strong", strong))
        for name, tensor in full_state_dict(one, True).items()
    }
    engine.destroy()
    return found


def step(model: Path) -> dict[str, float]:
    own, fused = (trained(model, kernels) for kernels in ("none", "liger"))
    assert own.keys() == fused.keys()
    before = dict(load_packed(model, "fp32").named_parameters())
    off = [float((fused[name] - own[name]).abs().max()) for name in own]
    moved = [float((own[f"strong.{name}"] - p).abs().max()) for name, p in before.items()]
    return {"difference": max(off), "moved": min(moved)}


def shard_all(**options: Any) -> Any:
    """Build an engine that releases and gathers weights as small as these."""
    options["config"]["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    return initialize(**options)


def main(results: Path) -> None:
    join()
    rows = {
        f"{backend}-{case}": differences(backend, case)
        for backend in DTYPES
        for case in ("alone", "softened", "cotrained")
    }
    model = make_tiny_model(results.parent / "model", hidden_size=16)
    for backend in ("chunked", "torch", "liger", "cce"):
        weak, strong = (load_packed(model, "fp32") for _ in range(2))
        pair = WeakStrongPair(strong, weak, LAMBDA, loss_backend=backend)
        assert pair.loss_backend == backend
        rows[f"{backend}-empty"] = empty_pass(pair)
    rows["zero3"] = step(model)
    results.write_text(json.dumps(rows | layer_rows()))


initialize, deepspeed.initialize = deepspeed.initialize, shard_all

if __name__ == "__main__":
    main(Path(sys.argv[1]))
