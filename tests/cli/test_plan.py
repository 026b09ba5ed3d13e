"""`wmss plan`: what a person and a program read of it, with and without a token table."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import WMSS, error_of, invoke, right_records, write_records
from table import make_token_table

from wmss_cli.core.resolve import resolve
from wmss_cli.stages.pipeline import token_table

SIZES = ("--samples", "1000", "--mean-tokens", "500")
GPUS = ("--gpus", "2", "--gpu-mem-gb", "24", "--gpu-tflops", "165")


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    data = write_records(tmp_path / "data.jsonl", right_records(3))
    path = tmp_path / "run.yaml"
    path.write_text(f"run_dir: runs\nmodel: {tiny_model}\ndata: [{data}]\n")
    return path


def test_for_people_it_fits_into_80_columns(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = invoke("plan", config, "--profile", "h800:8b", *SIZES)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "16 GPUs of 80 GB, of which 72 GB are planned with, and 989 TFLOP/s." in result.stdout
    assert "1,000 samples of 500 tokens, 500 of them completion; from options." in result.stdout
    for stage in ("sft", "joint-train"):
        assert f"{stage}: GB on each GPU, bf16, micro-batches of 8,192 tokens" in result.stdout
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 80


def test_as_json(config: Path) -> None:
    result = invoke("plan", config, *GPUS, *SIZES, "--share", "0.3", "--json")
    found = json.loads(result.stdout)
    assert (found["gpus"], found["share"], found["samples"]) == (2, 0.3, 1000)
    sft, joint = found["trainings"]
    assert (sft["stage"], joint["stage"]) == ("sft", "joint-train")
    assert joint["parameters"] == 2 * sft["parameters"]
    assert sft["zero"][0]["fits"] is True


def test_the_token_table_of_the_run_gives_the_samples(config: Path, tiny_model: Path) -> None:
    folder = token_table(resolve(config).config)
    make_token_table(folder, tiny_model, [(4, 6), (4, 8), (4, 25)])
    found = json.loads(invoke("plan", config, *GPUS, "--json").stdout)
    assert found["samples_from"] == str(folder)
    assert (found["samples"], found["mean_tokens"], found["longest_tokens"]) == (3, 17, 29)
    assert found["mean_completion_tokens"] == 13


def test_without_samples_it_is_one_line(config: Path) -> None:
    result = invoke("plan", config, *GPUS)
    assert result.exit_code == 3
    assert error_of(result).endswith(
        "no token table of these inputs yet; give --samples and --mean-tokens"
    )


def test_the_profile_is_that_of_the_configuration(config: Path) -> None:
    result = invoke("plan", config, *SIZES)
    assert error_of(result).startswith("on which GPUs? Give --profile")
    sets = ("--set", "launch.profile=h800")
    assert json.loads(invoke("plan", config, *SIZES, *sets, "--json").stdout)["gpus"] == 8
    more = invoke("plan", config, *SIZES, *sets, "--nodes", "4", "--json")
    assert json.loads(more.stdout)["gpus"] == 32


def test_a_warning_names_its_stage(config: Path) -> None:
    shown = invoke("plan", config, "--profile", "h800", "--nodes", "8", *SIZES).stdout
    assert "sft: global_batch_size 32 is less than 64 GPUs; sft will not start\n" in shown


def test_it_needs_no_torch(config: Path, tiny_model: Path) -> None:
    make_token_table(token_table(resolve(config).config), tiny_model, [(4, 6)])
    command = [sys.executable, "-X", "importtime", *WMSS[1:], "plan", str(config), *GPUS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "wmss_cli.train.memory" in imported
    assert not imported & {"torch", "transformers", "deepspeed", "datasets"}
