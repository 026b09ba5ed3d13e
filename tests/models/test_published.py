"""The published sizes of the base models: whole models of them, and where they are taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from wmss_cli.core.errors import ConfigError
from wmss_cli.models.published import published, published_name, shape_of
from wmss_cli.models.shape import ModelShape

BILLIONS = {
    "Qwen/Qwen2.5-3B": 3.09,
    "Qwen/Qwen3-4B-Base": 4.02,
    "Qwen/Qwen3-8B-Base": 8.19,
    "google/gemma-3-4b-pt": 3.88,
    "Qwen/Qwen3.5-4B-Base": 4.21,
}
"""Parameters by the model cards; of the last two without what sees pictures."""


def config_of(hub_id: str) -> PreTrainedConfig:
    sizes = published()[hub_id]
    sizes = sizes.get("text_config", sizes)
    return AutoConfig.for_model(**sizes)


@pytest.mark.parametrize("hub_id", BILLIONS)
def test_a_model_of_these_sizes_has_the_published_number_of_parameters(hub_id: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config_of(hub_id))
    shape = ModelShape.of_config(published()[hub_id])
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert round(shape.parameters / 1e9, 2) == BILLIONS[hub_id]


def test_every_published_model_is_tested() -> None:
    assert published().keys() == BILLIONS.keys()


@pytest.mark.parametrize(
    "reference", ["Qwen/Qwen3-8B-Base", "/data/qwen3-8b-base", "Qwen3-8B-Base"]
)
def test_a_model_that_is_not_here_is_known_by_its_name(reference: str) -> None:
    shape, taken_from = shape_of(reference)
    assert (taken_from, shape.hidden_size) == ("Qwen/Qwen3-8B-Base", 4096)


def test_what_is_here_counts_more(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen3-8B-Base"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no config\.json"):
        shape_of(str(folder))
    sizes = {**published()["Qwen/Qwen3-8B-Base"], "hidden_size": 8}
    (folder / "config.json").write_text(json.dumps(sizes))
    assert shape_of(str(folder))[1] is None
    assert shape_of(str(folder))[0].hidden_size == 8


def test_another_name_is_refused_with_the_known_ones() -> None:
    assert published_name("Qwen/Qwen3-4B-Instruct") is None
    with pytest.raises(ConfigError, match=r"neither a folder .* knows the sizes of Qwen/Qwen2"):
        shape_of("someone/not-here")
