"""Every objective against plain torch over all logits, in float64: values and all gradients."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from wmss_cli.models.heads import Head
from wmss_cli.train.keyed_random import Purpose, normal, stream
from wmss_cli.train.objectives.table import LOSSES, Inputs, Loss
from wmss_cli.train.objectives.weak_logits import noise, places

NAMES = sorted(LOSSES)
STEP = 7


HEADS: dict[str, dict[str, Any]] = {
    "product": {},
    "scaled": {"scale": 0.25},
    "biased": {"bias": True},
    "capped": {"cap": 2.0},
    "all": {"scale": 1.5, "bias": True, "cap": 3.0},
}


def make_inputs(
    name: str, tokens: int, vocab: int, dtype: torch.dtype, seed: int = 0, head: str = "product"
) -> Inputs:
    """Return random hidden states and heads; the other model is wider than the strong one."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(tokens, 8), (vocab, 8), (tokens, 12), (vocab, 12), (vocab,), (vocab,)]
    tensors = [torch.randn(*size, generator=generator).to(dtype).requires_grad_() for size in sizes]
    keys = torch.randint(-(2**62), 2**62, (tokens,), generator=generator)
    targets = torch.randint(vocab, (tokens,), generator=generator)
    kind = HEADS[head]
    heads = [
        Head(weight, **(kind | {"bias": bias if "bias" in kind else None}))
        for weight, bias in ((tensors[1], tensors[4]), (tensors[3], tensors[5]))
    ]
    has_other = LOSSES[name].needs_other or name == "mixed"
    beside = (tensors[2], heads[1]) if has_other else (None, None)
    return Inputs(tensors[0], heads[0], targets, *beside, keys, STEP)


def leaves(x: Inputs, both: bool) -> list[Tensor]:
    """Return what learns: hidden states, weights and biases of one model or both."""
    heads = [(x.hidden, x.head), (x.other, x.other_head)][: 2 if both else 1]
    return [t for hidden, head in heads for t in (hidden, head.weight, head.bias) if t is not None]


def logits(hidden: Tensor, head: Head) -> Tensor:
    """Return all logits in float64, as the formula says."""
    z = head.scale * hidden.double() @ head.weight.double().T
    z = z if head.bias is None else z + head.bias.double()
    return z if head.cap is None else head.cap * torch.tanh(z / head.cap)


def plain(x: Inputs, o: Loss) -> tuple[Tensor, Tensor]:
    """Return the losses of all tokens and the strong model's own, by the formulas as written."""
    z = logits(x.hidden, x.head)
    own = F.cross_entropy(z, x.targets, reduction="none")
    other = logits(x.other, x.other_head) if x.other is not None else None
    one_hot = F.one_hot(x.targets, z.shape[1]).double()
    if o.name == "label_smoothing":
        q = (1 - o.label_smoothing) * one_hot + o.label_smoothing / z.shape[1]
        return -(q * z.log_softmax(-1)).sum(-1), own
    if o.name == "undial":
        eps = normal(stream(x.keys, Purpose.UNDIAL, o.seed, x.step))
        lowered = z - o.undial_beta * eps[:, None] * one_hot
        return F.cross_entropy(lowered, x.targets, reduction="none"), own
    assert other is not None
    if o.name == "undial_kd":
        q = (other.detach() - o.undial_beta * one_hot).softmax(-1)
        return -(q * z.log_softmax(-1)).sum(-1), own
    if o.name == "shuffled":
        other = other.detach().gather(1, places(x.keys, o.seed, z.shape[1]))
    if o.name == "noise":
        weak = other.detach()
        mean = weak.mean(-1, keepdim=True)
        spread = (weak - mean).square().mean(-1, keepdim=True).sqrt()
        other = mean + spread * noise(x.keys, o.seed, z.shape[1])
    mixed = o.mix_lambda * z + (1 - o.mix_lambda) * other
    return F.cross_entropy(mixed, x.targets, reduction="none"), own


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(
    tokens=st.integers(0, 30),
    vocab=st.integers(2, 30),
    rows_at_once=st.integers(1, 40),
    numbers=st.tuples(st.floats(0.05, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 10.0)),
    seed=st.integers(0, 99),
    head=st.sampled_from(sorted(HEADS)),
)
def test_values_and_gradients_equal_plain_torch(
    name: str,
    tokens: int,
    vocab: int,
    rows_at_once: int,
    numbers: tuple[float, float, float],
    seed: int,
    head: str,
) -> None:
    x = make_inputs(name, tokens, vocab, torch.float64, seed, head)
    o = Loss(name, *numbers, seed=seed % 2)
    expected, own = plain(x, o)
    learning = leaves(x, both=name == "mixed")
    gradients = torch.autograd.grad(expected.sum() / 7, learning)
    loss = o.row.function(replace(x, logits_bytes=rows_at_once * vocab * 8), o)
    found = torch.autograd.grad(loss.total / 7, learning)
    torch.testing.assert_close(loss.per_token, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(loss.own_per_token, own.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(loss.total, expected.sum(), rtol=1e-10, atol=1e-12)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [n for n in NAMES if LOSSES[n].needs_other])
def test_no_gradient_reaches_the_other_model(name: str) -> None:
    x = make_inputs(name, 20, 23, torch.float64)
    Loss(name, 0.5, undial_beta=1.0).row.function(x, Loss(name, 0.5)).total.backward()
    assert x.hidden.grad is not None
    assert x.other is not None
    assert x.other_head is not None
    assert x.other.grad is None
    assert x.other_head.weight.grad is None


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NAMES)
def test_bf16_is_near_float64(name: str, head: str) -> None:
    x = make_inputs(name, 64, 300, torch.bfloat16, head=head)
    o = Loss(name, 0.5, 0.1, 1.0)
    loss = o.row.function(x, o)
    expected, own = plain(x, o)
    assert loss.total.dtype == torch.float32
    assert float(loss.total) == pytest.approx(float(expected.sum()), rel=5e-3)
    assert float(loss.own_per_token.sum()) == pytest.approx(float(own.sum()), rel=5e-3)
    loss.total.backward()
    for leaf, wanted in zip(
        leaves(x, both=False)[1:],
        torch.autograd.grad(expected.sum(), leaves(x, both=False)[1:]),
        strict=True,
    ):
        torch.testing.assert_close(leaf.grad, wanted, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_fp32_is_as_exact_as_the_mixed_loss(name: str) -> None:
    x = make_inputs(name, 64, 512, torch.float32)
    o = Loss(name, 0.5, 0.1, 1.0)
    expected, _ = plain(x, o)
    gradients = torch.autograd.grad(expected.sum(), leaves(x, both=False))
    loss = o.row.function(x, o)
    assert float(loss.total) == pytest.approx(float(expected.sum()), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(loss.total, leaves(x, both=False)), gradients, strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_label_smoothing_is_that_of_torch() -> None:
    x = make_inputs("label_smoothing", 20, 23, torch.float64)
    o = Loss("label_smoothing", label_smoothing=0.3)
    expected = F.cross_entropy(
        logits(x.hidden, x.head), x.targets, reduction="sum", label_smoothing=0.3
    )
    torch.testing.assert_close(o.row.function(x, o).total, expected)


def test_undial_draws_again_in_each_step_and_for_each_seed() -> None:
    x = make_inputs("undial", 20, 23, torch.float64)
    o = Loss("undial", undial_beta=1.0)
    first, again, later, other = (
        float(case.row.function(inputs, case).total)
        for case, inputs in ((o, x), (o, x), (o, replace(x, step=8)), (replace(o, seed=1), x))
    )
    assert first == again
    assert len({first, later, other}) == 3


@pytest.mark.parametrize("name", ["shuffled", "noise"])
def test_weak_logits_are_a_function_of_seed_and_key_alone(name: str) -> None:
    x = make_inputs(name, 20, 23, torch.float64)
    o = Loss(name, 0.5, seed=3)
    whole = o.row.function(x, o).per_token
    some = torch.tensor([13, 2, 19])
    assert x.other is not None
    assert x.keys is not None
    part = replace(
        x, hidden=x.hidden[some], targets=x.targets[some], other=x.other[some], keys=x.keys[some]
    )
    alone = o.row.function(replace(part, step=1), o).per_token
    torch.testing.assert_close(alone, whole[some], rtol=1e-13, atol=0)
    other = replace(o, seed=4)
    assert not torch.allclose(other.row.function(x, other).per_token, whole)
