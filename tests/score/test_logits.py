"""Logit statistics against their definitions, one token at a time."""

from __future__ import annotations

import math

import pytest
import torch

from wmss_cli.score.logits import STATISTICS, logit_statistics


def test_each_statistic_of_one_token() -> None:
    z = [2.0, -1.0, 0.5, 0.5]
    found = logit_statistics(torch.tensor([z], dtype=torch.float64), torch.tensor([2]))
    p = [math.exp(x) / sum(map(math.exp, z)) for x in z]
    mean = sum(z) / 4
    std = math.sqrt(sum((x - mean) ** 2 for x in z) / 4)
    expected = {
        "z_target": 0.5,
        "z_background": (2.0 - 1.0 + 0.5) / 3,
        "gap": 0.5 - 0.5,
        "std": std,
        "mean": mean,
        "centred_norm": 2 * std,
        "max": 2.0,
        "min": -1.0,
        "norm": math.sqrt(sum(x * x for x in z)),
        "entropy": -sum(q * math.log(q) for q in p),
        "p_max": p[0],
        "p_target": p[2],
    }
    assert list(found) == list(STATISTICS)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, abs=1e-12), name


def test_a_certain_token_has_no_entropy() -> None:
    z = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert logit_statistics(z, torch.tensor([0]))["entropy"].item() == 0.0
