"""The weak and the strong model in one module: what is computed, and who learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from wmss_cli.models.causal import load_model, load_packed
from wmss_cli.models.packed import PackedBatch
from wmss_cli.train.pair import WeakStrongPair

PROMPTS, LENGTHS = (3, 2), (8, 5)


@pytest.fixture
def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 300, (length,), generator=generator) for length in LENGTHS]


@pytest.fixture
def batch(documents: list[torch.Tensor]) -> PackedBatch:
    ids = torch.cat(documents)
    targets = torch.cat([torch.arange(3, 8), torch.arange(8 + 2, 8 + 5)])
    positions = torch.cat([torch.arange(length) for length in LENGTHS])
    return PackedBatch(ids, positions, LENGTHS, targets - 1, ids[targets])


def plain_losses(folder: Path, documents: list[torch.Tensor], temperature: float = 1.0) -> float:
    """Return the sum of the completion's losses, one document after the other."""
    model = load_model(folder, "fp32")
    total = 0.0
    for ids, prompt in zip(documents, PROMPTS, strict=True):
        logits = model(ids.unsqueeze(0)).logits[0, prompt - 1 : -1]
        total += float(F.cross_entropy(logits * temperature, ids[prompt:], reduction="sum"))
    return total


def pair(folder: Path, **options: object) -> WeakStrongPair:
    weak, strong = (load_packed(folder, "fp32") for _ in range(2))
    return WeakStrongPair(strong, weak, **options)  # type: ignore[arg-type]


def test_without_a_weak_model_it_is_supervised_fine_tuning(
    tiny_model: Path, batch: PackedBatch, documents: list[torch.Tensor]
) -> None:
    loss, sums = WeakStrongPair(load_packed(tiny_model, "fp32"))(batch, 8.0)
    assert float(loss) == pytest.approx(plain_losses(tiny_model, documents) / 8, rel=1e-5)
    assert sums[0] == sums[1]


def test_a_model_beside_itself_has_its_own_loss(
    tiny_model: Path, batch: PackedBatch, documents: list[torch.Tensor]
) -> None:
    _, sums = pair(tiny_model, mix_lambda=0.3)(batch, 8.0)
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-5, atol=0)
    assert float(sums[0]) == pytest.approx(plain_losses(tiny_model, documents), rel=1e-5)


def test_uniform_weak_logits_are_a_temperature(
    tiny_model: Path, batch: PackedBatch, documents: list[torch.Tensor]
) -> None:
    module = WeakStrongPair(load_packed(tiny_model, "fp32"), None, mix_lambda=0.5)
    loss, sums = module(batch, 1.0)
    assert float(loss) == pytest.approx(plain_losses(tiny_model, documents, 0.5), rel=1e-5)
    assert float(sums[1]) == pytest.approx(plain_losses(tiny_model, documents), rel=1e-5)


@pytest.mark.parametrize("mode", ["cotrain", "frozen"])
def test_gradients_reach_the_weak_model_only_when_it_is_cotrained(
    tiny_model: Path, batch: PackedBatch, mode: str
) -> None:
    module = pair(tiny_model, mix_lambda=0.5, weak_mode=mode).train()
    module(batch, 1.0)[0].backward()
    assert module.weak is not None
    weak = [p.grad for p in module.weak.parameters()]
    assert all((grad is not None and grad.any()) == (mode == "cotrain") for grad in weak)
    assert all(p.grad is not None for p in module.strong.parameters())
    assert module.weak.training == (mode == "cotrain"), "a frozen model runs without dropout"


def test_a_batch_with_nothing_to_predict_gives_zero_gradients(tiny_model: Path) -> None:
    """A rank without samples runs along with the others."""
    module = pair(tiny_model, mix_lambda=0.5).train()
    one, none = torch.zeros(1, dtype=torch.long), torch.empty(0, dtype=torch.long)
    loss, _ = module(PackedBatch(one, one, (1,), none, none), 1.0)
    loss.backward()
    assert float(loss) == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())
