"""Which kernels a model's layers get; what they compute is in tests/train/test_interpreted.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.causal import load_packed
from wmss_cli.models.kernels import fuse_layers


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without a GPU")
def test_without_a_gpu_a_model_keeps_its_own_layers(tiny_model: Path) -> None:
    model = load_packed(tiny_model, "fp32")
    assert fuse_layers(model, "none") == "kernels of qwen3: its own layers"
    said = "kernels of qwen3: its own layers, since there is no GPU"
    assert fuse_layers(model, "auto") == said
    with pytest.raises(ConfigError, match="kernels liger: there is no GPU; use auto or none"):
        fuse_layers(model, "liger")
