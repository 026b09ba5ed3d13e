"""The stage that extrapolates weights: an artifact with a model that loads."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard
from tiny import make_tiny_model

from wmss_cli.core.artifact import Job, finished
from wmss_cli.core.config import ExtrapolateConfig
from wmss_cli.core.manifest import verify
from wmss_cli.models.causal import load_model
from wmss_cli.stages import extrapolate


def test_a_model_beyond_the_strong_one(tmp_path: Path) -> None:
    base, strong = (make_tiny_model(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    config = ExtrapolateConfig(factor=0.25)
    inputs = {"base": str(base), "strong": str(strong)}
    out = tmp_path / "out"
    job = Job("extrapolate", config.model_dump(mode="json"), config.identity(), inputs, str(out))
    manifest = extrapolate.run(job)
    assert finished(job) == manifest == verify(out)
    model = load_model(out / "model", "fp32")
    assert manifest.metrics["parameters"] == model.num_parameters()
    assert (manifest.metrics["factor"], manifest.metrics["dtype"]) == (0.25, "F32")
    assert manifest.metrics["relative_distance"] > 0
    card = ModelCard.load(out / "model" / "README.md")
    assert card.data.base_model == "b"
    assert "extrapolate:\n  factor: 0.25\n" in card.text
