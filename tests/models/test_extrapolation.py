"""Weights beyond the strong model: right, bounded in memory, and never of two different models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_tiny_model

from wmss_cli.core.errors import ConfigError
from wmss_cli.models import extrapolation as module
from wmss_cli.models.causal import load_model
from wmss_cli.models.extrapolation import extrapolate
from wmss_cli.models.tokenizer import load_tokenizer


def save(folder: Path, dtype: torch.dtype, shards: bool) -> Path:
    """Save a model again in a data type, in one file or in several."""
    model = load_model(folder, "fp32")
    torch.nn.Module.to(model, dtype)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB" if shards else "1GB")
    return folder


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shards", [False, True])
def test_it_is_what_torch_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tie: bool, dtype: torch.dtype, shards: bool
) -> None:
    # Pieces of a few rows, as of a large model.
    monkeypatch.setattr(module, "_PIECE", 1000)
    # The base model lies otherwise: in one file of fp32.
    base = make_tiny_model(tmp_path / "base", seed=1, tie=tie)
    strong = save(make_tiny_model(tmp_path / "strong", seed=2, tie=tie), dtype, shards)
    made = extrapolate(base, strong, 0.3, tmp_path / "out")
    weak, own, new = (
        dict(load_model(folder, "fp32").named_parameters())
        for folder in (base, strong, tmp_path / "out")
    )
    assert new.keys() == own.keys()
    for name, found in new.items():
        wanted = own[name] + 0.3 * (own[name] - weak[name])
        assert torch.equal(found, wanted.to(dtype).float()), name
    difference = sum(float((own[n] - weak[n]).detach().double().square().sum()) for n in own)
    norm = sum(float(weak[n].detach().double().square().sum()) for n in own)
    assert made.relative_distance == pytest.approx((difference / norm) ** 0.5, rel=1e-9)
    assert made.parameters == sum(weight.numel() for weight in own.values())
    assert made.dtypes == (("F32",) if dtype == torch.float32 else ("BF16",))


@pytest.mark.parametrize("shards", [False, True])
def test_extrapolation_by_nothing_is_the_strong_model_bit_for_bit(
    tmp_path: Path, shards: bool
) -> None:
    base = make_tiny_model(tmp_path / "base", seed=1)
    strong = make_tiny_model(tmp_path / "strong", seed=2)
    weights = load_file(strong / "model.safetensors")
    weights["model.norm.weight"][0] = -0.0
    save_file(weights, strong / "model.safetensors", {"format": "pt"})
    strong = save(strong, torch.float32, shards)
    extrapolate(base, strong, 0.0, tmp_path / "out")
    left = {path.name: path.read_bytes() for path in strong.iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == left


def test_the_tokenizer_is_the_strong_models(tmp_path: Path) -> None:
    base, strong = (make_tiny_model(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    (strong / "README.md").write_text("of another model")
    extrapolate(base, strong, 0.5, tmp_path / "out")
    assert load_tokenizer(tmp_path / "out").encode("Tom") == load_tokenizer(strong).encode("Tom")
    assert not (tmp_path / "out" / "README.md").exists()


def test_a_tied_base_may_hold_its_head_twice(tmp_path: Path) -> None:
    base, strong = (make_tiny_model(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    weights = load_file(base / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    save_file(weights | {"lm_head.weight": head}, base / "model.safetensors", {"format": "pt"})
    extrapolate(base, strong, 0.5, tmp_path / "out")
    load_model(tmp_path / "out", "fp32")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    strong = make_tiny_model(tmp_path / "strong")
    untied = make_tiny_model(tmp_path / "untied", tie=False)
    with pytest.raises(ConfigError, match=r"1 only in .*untied \(lm_head\.weight\); name the base"):
        extrapolate(untied, strong, 0.5, tmp_path / "out")
    wide = make_tiny_model(tmp_path / "wide", hidden_size=48)
    with pytest.raises(
        ConfigError, match=r"of another shape \(model\.embed_tokens\.weight: \[320,"
    ):
        extrapolate(wide, strong, 0.5, tmp_path / "out")
    (wide / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="no safetensors files"):
        extrapolate(wide, strong, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_factor_too_large_is_refused(tmp_path: Path) -> None:
    base, strong = (make_tiny_model(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    with pytest.raises(
        ConfigError, match=r"is not finite when extrapolated by 1e\+39; choose a smaller"
    ):
        extrapolate(base, strong, 1e39, tmp_path / "out")


_MEASURE = """
import resource, sys
from pathlib import Path
from wmss_cli.models.extrapolation import extrapolate
base, strong, out = map(Path, sys.argv[1:])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extrapolate(base, strong, 0.5, out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    size = 2**22
    for folder, value in (("base", 1.0), ("strong", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text("{}")
        index: dict[str, str] = {}
        for shard in range(4):
            names = [f"layer{shard}.{part}" for part in range(4)]
            file = f"model-{shard}.safetensors"
            save_file({n: torch.full((size,), value) for n in names}, tmp_path / folder / file)
            index |= dict.fromkeys(names, file)
        weight_map = json.dumps({"weight_map": index})
        (tmp_path / folder / "model.safetensors.index.json").write_text(weight_map)
    paths = [str(tmp_path / name) for name in ("base", "strong", "out")]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *paths], capture_output=True, text=True, check=True
    )
    one_tensor, all_of_them = size * 4 / 1024, 16 * size * 4 / 1024
    assert int(done.stdout) < 10 * one_tensor < all_of_them, "KiB beyond what the libraries take"
    assert load_file(tmp_path / "out" / "model-3.safetensors")["layer3.1"].unique().tolist() == [
        2.5
    ]
