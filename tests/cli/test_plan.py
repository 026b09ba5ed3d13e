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


def test_for_people_it_fits_into_80_columns(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    large = {
        **{"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288},
        **{"num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"head_dim": 128, "vocab_size": 151936},
    }
    (tmp_path / "config.json").write_text(json.dumps(large))
    sets = ("--set", f"model={tmp_path}", "--set", "iterations=2")
    result = invoke("plan", config, "--profile", "h800:8b", *SIZES, *sets)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "16 GPUs of 80 GB, of which 72 GB are planned for use, and 989 TFLOP/s." in result.stdout
    assert "1,000 samples of 500 tokens, 500 of them completion; from options." in result.stdout
    for stage in ("sft", "joint-train"):
        assert f"{stage}: GB on each GPU, bf16, micro-batches of 8,192 tokens" in result.stdout
    assert "…" not in result.stdout
    assert "The study: 3 arms, 1 seed, 1 base model" in result.stdout
    assert "No tasks or eval_files are named: evaluation is not priced." in result.stdout
    lines = result.stdout.splitlines()
    # A warning is one line, as an error is.
    assert max(len(line.rstrip()) for line in lines if "no ZeRO stage" not in line) <= 80


STUDY = ("--set", "seeds=[0,1,2]", "--set", "tasks=[aime2025,gsm8k]")


def test_a_study_is_priced_by_arm_and_says_what_it_can_find(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arms = ("--set", "arms=[sft,wmss,continued_sft,continued_sft_flops,extrapolated]")
    result = invoke("plan", config, *GPUS, *SIZES, *STUDY, *arms)
    assert result.exit_code == 0
    shown, _, _ = result.stdout.partition("The whole pipeline")
    assert "The study: 5 arms, 3 seeds, 1 base model" in shown
    assert "Each model answers 1,349 problems once." in shown
    assert "continued_sft_flops " in shown
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    # 3 trainings of both phases in one, 3 first phases, 9 second ones; 32 steps an epoch.
    assert rows["sft"][:2] == ["3", "189"]
    assert rows["wmss"][:2] == ["6", "192"]
    assert rows["all"][0] == "15"
    assert rows["(shared)"]
    assert "Smallest difference from sft that is found with 80 % power, in points" in shown
    assert rows["gsm8k"][0] == "1,319"
    text = " ".join(shown.split())
    assert "0.05 over 4 comparisons, Holm's strictest step." in text
    assert "cannot be shown on" in text
    assert "…" not in shown
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80


def test_aime_alone_cannot_show_5_points(config: Path) -> None:
    sets = ("--set", "tasks=[aime2025,gsm8k]", "--set", "arms=[sft,wmss]")
    text = " ".join(invoke("plan", config, *GPUS, *SIZES, *sets).stdout.split())
    assert (
        "A difference of 5 points cannot be shown on aime2025 (30 problems), even as the only "
        "comparison." in text
    )
    assert "one seed, so the spread over seeds is not covered." in text


def test_a_part_of_a_study(config: Path) -> None:
    part = ("--arm", "wmss", "--seed", "1", "--json")
    found = json.loads(invoke("plan", config, *GPUS, *SIZES, *STUDY, *part).stdout)
    assert [arm["arm"] for arm in found["study"]["arms"]] == ["wmss"]
    assert found["study"]["seeds"] == [1]
    assert found["study"]["problems"] == {"aime2025": 30, "gsm8k": 1319}
    assert found["power"]["seeds"] == 3
    assert error_of(invoke("plan", config, *GPUS, *SIZES, "--arm", "wms")) == (
        "--arm wms: the study has base, m1, wmss"
    )


def test_what_is_assumed_of_answers_can_be_said(config: Path) -> None:
    def study(*options: str) -> dict[str, float]:
        found = invoke("plan", config, *GPUS, *SIZES, *STUDY, *options, "--json")
        kinds: dict[str, float] = json.loads(found.stdout)["study"]["kinds"]
        return kinds

    before = study("--mean-answer-tokens", "100")
    longer = study("--mean-answer-tokens", "200")
    slower = study("--mean-answer-tokens", "100", "--generation-share", "0.01")
    assert longer["evaluation"] > 1.9 * before["evaluation"]
    assert slower["evaluation"] == pytest.approx(5 * before["evaluation"])
    assert before["training"] == longer["training"] == slower["training"]


def test_of_a_file_that_does_not_exist_yet_the_number_of_problems_is_assumed(config: Path) -> None:
    files = ("--set", "eval_files={own: later.jsonl}", "--json")
    found = json.loads(invoke("plan", config, *GPUS, *SIZES, *files).stdout)
    assert found["study"]["problems"] == {"own": 500}
    assert "500 problems of own, which do not exist yet; --problems replaces it" in found["assumed"]
    given = invoke("plan", config, *GPUS, *SIZES, *files, "--problems", "70")
    assert json.loads(given.stdout)["study"]["problems"] == {"own": 70}


def test_it_ends_with_the_whole_pipeline(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = invoke("plan", config, *GPUS, *SIZES, *STUDY).stdout
    _, _, end = shown.partition("The whole pipeline")
    rows = {line.split()[0]: line.split()[1:] for line in end.splitlines() if line.strip()}
    assert list(rows)[2:11] == [
        *("curate", "tokenize", "sft", "score-entropy", "build-curriculum", "joint-train"),
        *("eval", "analyze", "all"),
    ]
    # A first phase for each seed, M0 scored once, evaluated with both models of each seed.
    assert (rows["sft"][0], rows["score-entropy"][0], rows["eval"][0]) == ("3", "4", "7")
    assert max(len(line.rstrip()) for line in end.splitlines()) <= 80


def test_before_data_and_weights_exist(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("run_dir: runs\nmodel: Qwen3-8B-Base\ndata: [later.jsonl]\ntasks: [gsm8k]\n")
    result = invoke("plan", path, "--profile", "h800:8b")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "assumed: the sizes of Qwen/Qwen3-8B-Base as published;" in text
    assert "assumed: 215,000 samples, as in AM-1.4M; --samples replaces it." in text
    assert "assumed: 4,096 tokens per sample, 3,840 of them completion; --mean-tokens" in text
    assert list(tmp_path.iterdir()) == [path]


def test_as_json(config: Path) -> None:
    result = invoke("plan", config, *GPUS, *SIZES, "--mfu", "0.3", "--json")
    found = json.loads(result.stdout)
    assert (found["gpus"], found["mfu"], found["samples"]) == (2, 0.3, 1000)
    sft, joint = found["trainings"]
    assert joint["mfu"] == pytest.approx(0.3)
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


@pytest.mark.slow
def test_it_needs_no_torch(config: Path, tiny_model: Path) -> None:
    make_token_table(token_table(resolve(config).config), tiny_model, [(4, 6)])
    command = [sys.executable, "-X", "importtime", *WMSS[1:], "plan", str(config), *GPUS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "wmss_cli.train.memory" in imported
    assert not imported & {"torch", "transformers", "deepspeed", "datasets"}
