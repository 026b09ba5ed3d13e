"""The mixed loss: the identities of Appendix B and C, and the chunked op against the plain one.

With the logits for hidden states and the unit matrix for a head, the op's logits are the logits
that a test chooses. So the identities are those of what trains, in float64.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.functional import hessian
from torch.nn import functional as F

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.heads import Head
from wmss_cli.results.result_tables import crossing
from wmss_cli.score.logits import logit_statistics
from wmss_cli.train import loss_backends
from wmss_cli.train.loss_backends import Backend, choose, mixed_loss
from wmss_cli.train.objectives.chunks import TokenLoss
from wmss_cli.train.objectives.mixed import mixed_cross_entropy

LAMBDAS = st.floats(0.05, 0.95)
SEEDS = st.integers(0, 2**32 - 1)
TOKENS, VOCAB = 3, 7
UNIT = Head(torch.eye(VOCAB, dtype=torch.float64))


def random_logits(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    strong, weak = (
        3 * torch.randn(TOKENS, VOCAB, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return strong, weak, torch.randint(0, VOCAB, (TOKENS,), generator=generator)


def mix(strong: Tensor, weak: Tensor, lam: float) -> Tensor:
    return lam * strong + (1 - lam) * weak


def loss_of(strong: Tensor, weak: Tensor, targets: Tensor, lam: float) -> TokenLoss:
    return mixed_cross_entropy(strong, UNIT, targets, weak, UNIT, lam)


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return m_k = z_y - z_k, of the right token over each other (Appendix B)."""
    return logits.gather(-1, targets.unsqueeze(-1)) - logits


def one_hot(targets: Tensor) -> Tensor:
    return F.one_hot(targets, VOCAB).double()


@given(SEEDS, LAMBDAS)
def test_the_loss_is_the_cross_entropy_of_the_mixture(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    loss = loss_of(strong, weak, targets, lam)
    p = torch.softmax(mix(strong, weak, lam), dim=-1)
    expected = [-math.log(p[t, targets[t]]) for t in range(TOKENS)]
    assert loss.per_token.tolist() == pytest.approx(expected, rel=1e-12)
    assert math.isclose(float(loss.total), sum(expected), rel_tol=1e-12)
    own = F.cross_entropy(strong, targets, reduction="none")
    torch.testing.assert_close(loss.own_per_token, own, rtol=1e-12, atol=1e-14)


@given(SEEDS, LAMBDAS)
def test_gradients_are_scaled_by_lambda_and_sum_to_zero(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    strong.requires_grad_()
    weak.requires_grad_()
    loss_of(strong, weak, targets, lam).total.backward()
    g = torch.softmax(mix(strong, weak, lam).detach(), dim=-1) - one_hot(targets)
    assert strong.grad is not None
    assert weak.grad is not None
    torch.testing.assert_close(strong.grad, lam * g, rtol=0, atol=1e-12)
    torch.testing.assert_close(weak.grad, (1 - lam) * g, rtol=0, atol=1e-12)
    for gradient in (strong.grad, weak.grad):
        assert gradient.sum(dim=-1).abs().max() < 1e-12


@given(SEEDS, LAMBDAS)
def test_margins_mix_linearly(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    mixed = margins(mix(strong, weak, lam), targets)
    expected = (1 - lam) * margins(weak, targets) + lam * margins(strong, targets)
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


@given(SEEDS, LAMBDAS)
def test_smaller_weak_margins_lower_the_target_and_raise_hard_negatives(
    seed: int, lam: float
) -> None:
    strong, weak, targets = random_logits(seed)
    # Push each weak logit up until no weak margin exceeds the strong one.
    excess = (margins(weak, targets) - margins(strong, targets)).clamp_min(0)
    weak = weak + excess
    p_mix, p_strong = mix(strong, weak, lam).softmax(-1), strong.softmax(-1)
    index = targets.unsqueeze(-1)
    assert (p_mix.gather(-1, index) <= p_strong.gather(-1, index) + 1e-12).all()
    hard = margins(weak, targets) < margins(strong, targets) - 1e-9
    odds_mix = p_mix / p_mix.gather(-1, index)
    odds_strong = p_strong / p_strong.gather(-1, index)
    assert (odds_mix > odds_strong)[hard].all()


@settings(max_examples=25, deadline=None)
@given(SEEDS, LAMBDAS)
def test_hessian_and_cross_hessian(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)

    def loss(s: Tensor, w: Tensor) -> Tensor:
        return F.cross_entropy(mix(s, w, lam), targets[0])

    blocks = hessian(loss, (strong[0], weak[0]))
    p = mix(strong[0], weak[0], lam).softmax(-1)
    h = torch.diag(p) - torch.outer(p, p)
    torch.testing.assert_close(blocks[0][0], lam**2 * h, rtol=0, atol=1e-10)
    torch.testing.assert_close(blocks[0][1], lam * (1 - lam) * h, rtol=0, atol=1e-10)
    torch.testing.assert_close(blocks[1][1], (1 - lam) ** 2 * h, rtol=0, atol=1e-10)
    assert (h @ torch.ones(VOCAB, dtype=torch.float64)).abs().max() < 1e-12


@given(SEEDS, LAMBDAS, st.floats(-50, 50))
def test_a_shift_of_the_weak_logits_changes_nothing(seed: int, lam: float, shift: float) -> None:
    strong, weak, targets = random_logits(seed)
    losses = [float(loss_of(strong, z, targets, lam).total) for z in (weak, weak + shift)]
    assert math.isclose(*losses, rel_tol=1e-10, abs_tol=1e-10)


@given(SEEDS)
def test_centred_norm_is_sqrt_vocab_times_std(seed: int) -> None:
    strong, _, targets = random_logits(seed)
    found = logit_statistics(strong, targets)["centred_norm"]
    centred = strong - strong.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(found, centred.norm(dim=-1), rtol=1e-12, atol=0)


def test_crossing_lambda_of_the_papers_numbers() -> None:
    found = crossing({"centred_norm": 1240.10}, {"centred_norm": 1034.50})
    assert found == pytest.approx(0.455, abs=5e-4)


def pair_of_heads(
    tokens: int, vocab: int, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return hidden states and heads of a strong and a wider weak model, and targets."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(tokens, 8), (vocab, 8), (tokens, 12), (vocab, 12)]
    tensors = [torch.randn(*size, generator=generator).to(dtype).requires_grad_() for size in sizes]
    targets = torch.randint(vocab, (tokens,), generator=generator)
    return tensors[0], tensors[1], tensors[2], tensors[3], targets


def plain(
    strong: Tensor,
    strong_head: Tensor,
    weak: Tensor | None,
    weak_head: Tensor | None,
    targets: Tensor,
    lam: float,
) -> Tensor:
    """Return the loss through all logits, in float64."""
    z = lam * strong.double() @ strong_head.double().T
    if weak is not None and weak_head is not None:
        z = z + (1 - lam) * weak.double() @ weak_head.double().T
    return F.cross_entropy(z, targets, reduction="sum")


@settings(deadline=None)
@given(
    tokens=st.integers(0, 30),
    rows_at_once=st.integers(1, 40),
    lam=st.floats(0.05, 1.0),
    has_weak=st.booleans(),
    seed=st.integers(0, 99),
)
def test_chunks_equal_all_logits_at_once(
    tokens: int, rows_at_once: int, lam: float, has_weak: bool, seed: int
) -> None:
    strong, strong_head, weak, weak_head, targets = pair_of_heads(tokens, 23, torch.float64, seed)
    beside = (weak, weak_head) if has_weak else (None, None)
    learning = [t for t in (strong, strong_head, *beside) if t is not None]
    expected = plain(strong, strong_head, *beside, targets, lam)
    gradients = torch.autograd.grad(expected / 7, learning)
    heads = Head(strong_head), Head(weak_head)
    beside = (weak, heads[1]) if has_weak else (None, None)
    loss = mixed_cross_entropy(strong, heads[0], targets, *beside, lam, rows_at_once * 23 * 8)
    found = torch.autograd.grad(loss.total / 7, learning)
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=1e-12)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_frozen_weak_head_gets_no_gradient() -> None:
    strong, strong_head, weak, weak_head, targets = pair_of_heads(20, 23, torch.float64)
    expected = torch.autograd.grad(
        plain(strong, strong_head, weak, weak_head, targets, 0.4), [strong, strong_head]
    )
    heads = Head(strong_head), Head(weak_head).detach()
    loss = mixed_cross_entropy(strong, heads[0], targets, weak.detach(), heads[1], 0.4, 23 * 8 * 6)
    loss.total.backward()
    assert weak.grad is None
    assert weak_head.grad is None
    for tensor, gradient in zip((strong, strong_head), expected, strict=True):
        torch.testing.assert_close(tensor.grad, gradient)


def test_one_tied_head_gets_the_gradients_of_both_uses() -> None:
    strong, head, *_, targets = pair_of_heads(20, 23, torch.float64)
    ids = targets.flip(0)
    mixed_cross_entropy(strong + F.embedding(ids, head), Head(head), targets).total.backward()
    found, head.grad = head.grad, None
    F.cross_entropy((strong + F.embedding(ids, head)) @ head.T, targets, reduction="sum").backward()
    torch.testing.assert_close(found, head.grad)


def test_bf16_gradients_are_summed_in_fp32() -> None:
    """Many chunks that each add little: in bf16 their sum would stand still."""
    tokens, vocab = 4096, 16
    strong = torch.ones(tokens, 4, dtype=torch.bfloat16)
    head = torch.zeros(vocab, 4, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.zeros(tokens, dtype=torch.long)
    loss = mixed_cross_entropy(strong, Head(head), targets, logits_bytes=vocab * 10)
    assert loss.total.dtype == torch.float32
    loss.total.backward()
    assert head.grad is not None
    assert float(head.grad[0, 0]) == pytest.approx(-tokens * 15 / 16, rel=1e-2)


def test_bf16_softmax_is_that_of_fp32() -> None:
    strong, strong_head, weak, weak_head, targets = pair_of_heads(64, 300, torch.bfloat16)
    loss = mixed_cross_entropy(strong, Head(strong_head), targets, weak, Head(weak_head), 0.5)
    expected = plain(strong, strong_head, weak, weak_head, targets, 0.5)
    assert float(loss.total.detach()) == pytest.approx(float(expected), rel=2e-3)


GPU_ONLY = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(
    "backend",
    [
        "chunked",
        "torch",
        pytest.param("liger", marks=GPU_ONLY),
        pytest.param("cce", marks=GPU_ONLY),
    ],
)
@pytest.mark.parametrize("case", ["alone", "softened", "cotrained", "frozen"])
def test_backends_agree_with_the_plain_loss(backend: Backend, case: str) -> None:
    gpu = backend in ("liger", "cce")
    dtype = torch.bfloat16 if gpu else torch.float32
    made = pair_of_heads(48, 512, dtype)
    strong, strong_head, weak, weak_head, targets = (
        tensor.detach().to("cuda" if gpu else "cpu") for tensor in made
    )
    lam = 1.0 if case == "alone" else 0.4
    learning = [strong.requires_grad_(), strong_head.requires_grad_()]
    beside: tuple[Tensor, Tensor] | tuple[None, None] = (None, None)
    if case in ("cotrained", "frozen"):
        beside = weak, weak_head
    if case == "cotrained":
        learning += [weak.requires_grad_(), weak_head.requires_grad_()]
    expected = plain(strong, strong_head, *beside, targets, lam)
    gradients = torch.autograd.grad(expected, learning)
    second = (weak, Head(beside[1])) if beside[1] is not None else (None, None)
    loss = mixed_loss(choose(backend), strong, Head(strong_head), targets, *second, lam)
    found = torch.autograd.grad(loss.total, learning)
    tolerance = 2e-2 if gpu else 1e-5
    assert float(loss.total) == pytest.approx(float(expected), rel=tolerance)
    own = F.cross_entropy(strong.double() @ strong_head.double().T, targets, reduction="none")
    torch.testing.assert_close(
        loss.own_per_token.double(), own.detach(), rtol=tolerance, atol=tolerance
    )
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other.to(dtype), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["chunked", "torch", "liger", "cce"])
def test_a_batch_with_nothing_to_predict_never_reaches_a_fused_op(backend: Backend) -> None:
    strong, strong_head, weak, weak_head, targets = pair_of_heads(0, 23, torch.float32)
    loss = mixed_loss(backend, strong, Head(strong_head), targets, weak, Head(weak_head), 0.5)
    assert float(loss.total) == 0.0
    loss.total.backward()
    for tensor in (strong, strong_head, weak, weak_head):
        assert tensor.grad is not None
        assert not tensor.grad.any()


@pytest.mark.parametrize("more", [{"cap": 3.0}, {"bias": torch.ones(23)}])
def test_a_head_that_is_more_than_a_product_is_for_our_own_op(more: dict[str, Any]) -> None:
    strong, strong_head, *_, targets = pair_of_heads(5, 23, torch.float32)
    with pytest.raises(ConfigError, match="torch does not compute capped or biased logits"):
        mixed_loss("torch", strong, Head(strong_head, **more), targets)


@pytest.mark.parametrize("installed", [False, True])
def test_auto_is_our_own_op_whatever_is_installed(
    monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    monkeypatch.setattr(loss_backends, "find_spec", lambda _name: object() if installed else None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto") == "chunked"


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_a_gpu_backend_is_refused_without_a_gpu() -> None:
    assert choose("auto") == "chunked"
    with pytest.raises(ConfigError, match="liger needs a GPU; use auto or chunked"):
        choose("liger")
