"""What the doctor says of a model, and that it needs no torch for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import error_of, invoke

from wmss_cli.core.config import EvalConfig, TokenizeConfig
from wmss_cli.models.template import PLAIN_TEMPLATE
from wmss_cli.preflight.doctor import examine_model


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, free to be changed."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def look(folder: Path) -> dict[str, tuple[str, str, str]]:
    findings = examine_model(str(folder), TokenizeConfig(), EvalConfig())
    return {one.what: (one.state, one.found, one.advice) for one in findings}


def test_a_model_whose_files_fit(folder: Path) -> None:
    found = look(folder)
    assert {what: state for what, (state, *_) in found.items()} == dict.fromkeys(
        ("model", "weights", "tokenizer", "context", "answers end at"), "ok"
    )
    assert found["tokenizer"][1] == "ids up to 319, 320 rows of the embedding"
    assert found["context"][1] == "16,384 tokens (max_position_embeddings)"
    assert found["answers end at"][1] == "<|end|> (0)"


def test_what_is_worth_knowing_is_noted(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }} " + PLAIN_TEMPLATE)
    said = {"_from_model_config": True, "eos_token_id": 65}
    (folder / "generation_config.json").write_text(json.dumps(said))
    found = look(folder)
    assert found["context"] == (
        "note",
        "4,096 tokens (max_position_embeddings)",
        "set tokenize.max_seq_len and eval.max_new_tokens lower",
    )
    assert found["template_date"][1].endswith("always 2024-07-26")
    assert "an ordinary piece of text, which does not end an answer" in found["eos_token_id 65"][1]


def test_what_does_not_fit_ends_with_code_3(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    result = invoke("doctor", folder, "--json")
    assert result.exit_code == 3
    [finding] = json.loads(result.stdout)
    assert finding["state"] == "missing"
    assert finding["advice"] == "run 'git lfs pull' in its folder"


def test_a_template_that_loses_texts_is_missing(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages | length }}")
    state, found, advice = look(folder)["answers end at"]
    assert (state, found) == ("missing", "the model's chat template leaves the system prompt out")
    assert advice.startswith("set tokenize.system_prompt")


def test_a_model_and_a_cluster_are_two_questions(folder: Path) -> None:
    result = invoke("doctor", folder, "--profile", "cpu")
    assert result.exit_code == 3
    assert "MODEL and --profile are checked separately" in error_of(result)


@pytest.mark.slow
def test_it_needs_no_torch(folder: Path) -> None:
    # As on a login node that has none.
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["torch", "transformers", "deepspeed", "datasets"]))
sys.argv = ["wmss", "doctor", {str(folder)!r}]
from wmss_cli.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ids up to 319" in done.stdout
