"""Where a model's configuration is found: a folder, an artifact, the local cache of the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from wmss_cli.core.artifact import Job, open_draft
from wmss_cli.core.errors import ConfigError
from wmss_cli.models.folder import find_config, find_model


def test_a_configuration_needs_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert find_config(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match="no weights"):
        find_model(str(tmp_path))


def test_of_a_hub_id_the_local_cache_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConfigError, match="neither a folder here nor in the local cache"):
        find_config("someone/small")
    cached = tmp_path / "models--someone--small"
    folder = cached / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123")
    assert find_config("someone/small") == folder


def test_what_is_no_model_is_called_by_its_name(tmp_path: Path) -> None:
    with open_draft(Job("tokenize", {}, {}, {}, str(tmp_path / "tokens"))) as draft:
        draft.commit({})
    for find in (find_config, find_model):
        with pytest.raises(ConfigError, match="tokens: made by tokenize, which makes no model; "):
            find(str(tmp_path / "tokens"))
        with pytest.raises(ConfigError, match=r"manifest.json: this is a file; name the folder"):
            find(str(tmp_path / "tokens" / "manifest.json"))


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a Hugging Face model folder"):
        find_config(str(tmp_path))
