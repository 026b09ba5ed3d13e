"""The identities of Appendix B and C, in float64, through the functions that training uses."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd.functional import hessian

from wmss_cli.analyze.logits import crossing_lambda, logit_statistics, margins
from wmss_cli.train.losses import cross_entropy_sum, mix_logits

LAMBDAS = st.floats(0.05, 0.95)
SEEDS = st.integers(0, 2**32 - 1)
TOKENS, VOCAB = 3, 7


def random_logits(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    strong, weak = (
        3 * torch.randn(TOKENS, VOCAB, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    return strong, weak, torch.randint(0, VOCAB, (TOKENS,), generator=generator)


def one_hot(targets: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(targets, VOCAB).double()


@given(SEEDS, LAMBDAS)
def test_the_loss_is_the_cross_entropy_of_the_mixture(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    loss = cross_entropy_sum(mix_logits(strong, weak, lam), targets)
    p = torch.softmax(lam * strong + (1 - lam) * weak, dim=-1)
    expected = -sum(math.log(p[t, targets[t]]) for t in range(TOKENS))
    assert math.isclose(float(loss), expected, rel_tol=1e-12)


@given(SEEDS, LAMBDAS)
def test_gradients_are_scaled_by_lambda_and_sum_to_zero(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    strong.requires_grad_()
    weak.requires_grad_()
    mixed = mix_logits(strong, weak, lam)
    cross_entropy_sum(mixed, targets).backward()
    g = torch.softmax(mixed.detach(), dim=-1) - one_hot(targets)
    assert strong.grad is not None
    assert weak.grad is not None
    torch.testing.assert_close(strong.grad, lam * g, rtol=0, atol=1e-12)
    torch.testing.assert_close(weak.grad, (1 - lam) * g, rtol=0, atol=1e-12)
    for gradient in (strong.grad, weak.grad):
        assert gradient.sum(dim=-1).abs().max() < 1e-12


@given(SEEDS, LAMBDAS)
def test_margins_mix_linearly(seed: int, lam: float) -> None:
    strong, weak, targets = random_logits(seed)
    mixed = margins(mix_logits(strong, weak, lam), targets)
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
    mixed = mix_logits(strong, weak, lam)
    p_mix, p_strong = mixed.softmax(-1), strong.softmax(-1)
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
    y = targets[:1]

    def loss(s: Tensor, w: Tensor) -> Tensor:
        return cross_entropy_sum(mix_logits(s, w, lam).unsqueeze(0), y)

    blocks = hessian(loss, (strong[0], weak[0]))
    p = mix_logits(strong[0], weak[0], lam).softmax(-1)
    h = torch.diag(p) - torch.outer(p, p)
    torch.testing.assert_close(blocks[0][0], lam**2 * h, rtol=0, atol=1e-10)
    torch.testing.assert_close(blocks[0][1], lam * (1 - lam) * h, rtol=0, atol=1e-10)
    torch.testing.assert_close(blocks[1][1], (1 - lam) ** 2 * h, rtol=0, atol=1e-10)
    assert (h @ torch.ones(VOCAB, dtype=torch.float64)).abs().max() < 1e-12


@given(SEEDS, LAMBDAS, st.floats(-50, 50))
def test_a_shift_of_the_weak_logits_changes_nothing(seed: int, lam: float, shift: float) -> None:
    strong, weak, targets = random_logits(seed)
    losses = [
        float(cross_entropy_sum(mix_logits(strong, z, lam), targets)) for z in (weak, weak + shift)
    ]
    assert math.isclose(*losses, rel_tol=1e-10, abs_tol=1e-10)


@given(SEEDS)
def test_centred_norm_is_sqrt_vocab_times_std(seed: int) -> None:
    strong, _, targets = random_logits(seed)
    found = logit_statistics(strong, targets)["centred_norm"]
    centred = strong - strong.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(found, centred.norm(dim=-1), rtol=1e-12, atol=0)


def test_crossing_lambda_of_the_papers_numbers() -> None:
    assert round(crossing_lambda(1240.10, 1034.50), 3) == 0.455


def test_half_precision_logits_get_an_fp32_softmax() -> None:
    strong, _, targets = random_logits(0)
    narrow = strong.bfloat16()
    loss = cross_entropy_sum(narrow, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy_sum(narrow.float(), targets))
