"""The weak and the strong model in one module: what is computed, and who learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from wmss_cli.core.schema import IGNORE_INDEX
from wmss_cli.models.causal import load_model
from wmss_cli.train.pair import WeakStrongPair


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    input_ids = torch.randint(0, 300, (2, 8), generator=torch.Generator().manual_seed(0))
    labels = input_ids.clone()
    labels[:, :3] = IGNORE_INDEX
    return {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": labels}


def pair(folder: Path, **options: object) -> WeakStrongPair:
    return WeakStrongPair(load_model(folder, "fp32"), load_model(folder, "fp32"), **options)  # type: ignore[arg-type]


def test_without_a_weak_model_it_is_supervised_fine_tuning(
    tiny_model: Path, batch: dict[str, torch.Tensor]
) -> None:
    model = load_model(tiny_model, "fp32")
    loss, sums = WeakStrongPair(model)(**batch, denominator=10)
    expected = model(**batch).loss
    torch.testing.assert_close(loss, expected)
    assert sums[0] == sums[1]


def test_a_model_beside_itself_has_its_own_loss(
    tiny_model: Path, batch: dict[str, torch.Tensor]
) -> None:
    loss, sums = pair(tiny_model, mix_lambda=0.3)(**batch, denominator=10)
    torch.testing.assert_close(sums[0], sums[1], rtol=1e-5, atol=0)
    torch.testing.assert_close(loss, load_model(tiny_model, "fp32")(**batch).loss)


def test_uniform_weak_logits_are_a_temperature(
    tiny_model: Path, batch: dict[str, torch.Tensor]
) -> None:
    model = load_model(tiny_model, "fp32")
    loss, sums = WeakStrongPair(model, None, mix_lambda=0.5)(**batch, denominator=1)
    logits = model(input_ids=batch["input_ids"]).logits[:, 2:-1].flatten(0, 1)
    targets = batch["labels"][:, 3:].flatten()
    torch.testing.assert_close(loss, F.cross_entropy(0.5 * logits, targets, reduction="sum"))
    own = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(sums[1].float(), own)


@pytest.mark.parametrize("mode", ["cotrain", "frozen"])
def test_gradients_reach_the_weak_model_only_when_it_is_cotrained(
    tiny_model: Path, batch: dict[str, torch.Tensor], mode: str
) -> None:
    module = pair(tiny_model, mix_lambda=0.5, weak_mode=mode).train()
    module(**batch, denominator=1)[0].backward()
    assert module.weak is not None
    weak = [p.grad for p in module.weak.parameters()]
    assert all((grad is not None and grad.any()) == (mode == "cotrain") for grad in weak)
    assert all(p.grad is not None for p in module.strong.parameters())
    assert module.weak.training == (mode == "cotrain"), "a frozen model runs without dropout"
