"""The loss on a GPU: fp32 head gradients, every backend, and its memory beside the plan."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from wmss_cli.models.causal import device
from wmss_cli.models.heads import Head
from wmss_cli.train.loss_backends import Backend, choose, mixed_loss
from wmss_cli.train.objectives import chunks

PACKAGES = {"liger": "liger_kernel", "cce": "cut_cross_entropy"}


def inputs(tokens: int, vocab: int, hidden: int) -> tuple[list[Tensor], Tensor]:
    torch.manual_seed(0)
    sizes = [(tokens, hidden), (vocab, hidden)] * 2
    scales = [1.0, hidden**-0.5] * 2
    made = [torch.randn(*s, device=device()) * c for s, c in zip(sizes, scales, strict=True)]
    return made, torch.randint(vocab, (tokens,), device=device())


def gradients(
    backend: Backend, made: list[Tensor], targets: Tensor, dtype: torch.dtype
) -> tuple[float, list[Tensor]]:
    leaves = [tensor.detach().to(dtype, copy=True).requires_grad_() for tensor in made]
    strong, strong_head, weak, weak_head = leaves
    loss = mixed_loss(backend, strong, Head(strong_head), targets, weak, Head(weak_head), 0.48)
    (loss.total / len(targets)).backward()
    found = [leaf.grad.float() for leaf in leaves if leaf.grad is not None]
    return float(loss.total.detach()) / len(targets), found


def test_head_gradients_are_written_in_fp32(rehearsal: bool) -> None:
    if rehearsal:
        pytest.skip("a CPU takes the product apart")
    assert chunks._writes_fp32(device(), torch.bfloat16)


@pytest.mark.parametrize("backend", ["chunked", "torch", "liger", "cce"])
def test_backends_in_bf16_are_near_fp32(backend: Backend, rehearsal: bool) -> None:
    if backend in PACKAGES and (rehearsal or not find_spec(PACKAGES[backend])):
        pytest.skip(f"{backend} is not installed")
    made, targets = inputs(64, 500, 32) if rehearsal else inputs(2048, 151_936, 1024)
    expected, exact = gradients("chunked", made, targets, torch.float32)
    loss, found = gradients(choose(backend), made, targets, torch.bfloat16)
    assert loss == pytest.approx(expected, rel=5e-3)
    for one, other in zip(found, exact, strict=True):
        error = float((one - other).norm() / other.norm())
        assert error < 2e-2, error


def test_chunks_take_what_the_plan_says(rehearsal: bool, results: Path) -> None:
    if rehearsal:
        pytest.skip("is about a GPU's memory")
    made, targets = inputs(8192, 151_936, 2560)
    narrow = [tensor.to(torch.bfloat16) for tensor in made]
    del made
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    gradients("chunked", narrow, targets, torch.bfloat16)
    peak = torch.cuda.max_memory_allocated() - before
    heads = sum(4 * tensor.numel() for tensor in narrow[1::2])
    # Heads in fp32, the chunk, and what autograd keeps in bf16: leaves, gradients.
    assert peak <= 1.1 * (chunks.GPU_LOGITS_BYTES + 2 * heads + 4 * sum(t.nbytes for t in narrow))
    (results / "loss-memory.json").write_text(json.dumps({"peak_bytes": peak}))
