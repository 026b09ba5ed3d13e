"""The whole pipeline by one command: two iterations, some arms, interrupted and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from tiny import make_tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from wmss_cli.core.manifest import read_manifest, verify

pytestmark = pytest.mark.slow

CONFIG = """
run_dir: runs
model: base
data: [{records}]
eval_files: {{gsm8k: {problems}}}
iterations: 2
arms: [wmss, continued_sft]
tokenize: {{system_prompt: "", max_seq_len: 400}}
sft: {{learning_rate: 1e-3, global_batch_size: 4, micro_batch_tokens: 300, save_every_steps: 3}}
joint: {{learning_rate: 1e-3, global_batch_size: 16, micro_batch_tokens: 1000}}
eval: {{limit: 4, max_new_tokens: 4, system_prompt: ""}}
analyze: {{samples: 8}}
"""


def wmss(project: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wmss_cli.cli.main", *arguments],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
        # A shell starts what runs in its background with Ctrl-C ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("project")
    make_tiny_model(folder / "base")
    config = CONFIG.format(
        records=shared_data / "am_synth.jsonl", problems=shared_data / "gsm8k.jsonl"
    )
    (folder / "run.yaml").write_text(config)
    return folder


def test_ctrl_c_leaves_a_state_that_the_same_command_continues(project: Path) -> None:
    process = wmss(project, "run", "run.yaml")
    deadline = time.monotonic() + 120
    while not list(project.glob("runs/sft-*.partial/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1].startswith("error: stopped by SIGTERM after step ")
    assert "Traceback" not in err
    (saved,) = project.glob("runs/sft-*.partial/checkpoints/step-*")
    assert (saved / "manifest.json").is_file()


def test_the_same_command_continues_and_shows_the_results(project: Path) -> None:
    process = wmss(project, "run", "run.yaml", "--json")
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    assert "curate: done before" in err
    results = json.loads(out)
    assert [arm["name"] for arm in results["study"]["arms"]] == ["wmss", "continued_sft"]
    (sft,) = (path for path in project.glob("runs/sft-*") if read_manifest(path).attempt == 2)
    steps = [json.loads(line)["step"] for line in (sft / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1))


def test_a_second_run_does_nothing(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in project.glob("runs/*/manifest.json")}
    out, err = wmss(project, "run", "run.yaml").communicate(timeout=120)
    assert "accuracy in percent" in out
    assert "report.html" in out
    assert "\x1b" not in out + err, "no escape codes without a terminal"
    assert all(line.endswith("done before") for line in err.splitlines() if ": done" in line)
    after = {path: path.stat().st_mtime_ns for path in project.glob("runs/*/manifest.json")}
    assert after == before


def test_a_refused_force_leaves_the_record_of_the_study(project: Path) -> None:
    before = (project / "runs" / "study.json").read_text()
    (curated,) = project.glob("runs/curate-??????????")
    with FileLock(curated.with_name(f".{curated.name}.lock")):
        process = wmss(project, "run", "run.yaml", "--force", "--set", "arms=[base, m1]")
        assert "another process is writing it" in process.communicate(timeout=120)[1]
    assert process.returncode == 3
    assert (project / "runs" / "study.json").read_text() == before
    assert not list(project.glob("runs/.*.redo"))


def test_arms_take_as_many_steps_as_the_joint_training(project: Path) -> None:
    study = json.loads((project / "runs" / "study.json").read_text())
    steps = {
        run["arm"]: sum(
            read_manifest(Path(study["artifacts"][label])).metrics["steps"]
            for label in run["trainings"]
            if label != "m1"
        )
        for run in study["study"]["runs"]
    }
    assert steps["wmss"] == steps["continued_sft"] > 0


def test_models_load_without_code_of_ours(project: Path) -> None:
    folders = [path for path in project.glob("runs/joint-train-*") if path.is_dir()]
    assert sorted((path / "weak").is_dir() for path in folders) == [True, True]
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder / "model")
        tokenizer = AutoTokenizer.from_pretrained(folder / "model")
        assert tokenizer.chat_template, "the template travels with the model"
        assert model.generation_config.eos_token_id == [tokenizer.eos_token_id]
        assert not list((folder / "model").glob("*.bin"))


def test_every_artifact_holds_its_hashes_and_rows_are_joined_by_id(project: Path) -> None:
    tables = {}
    for path in project.glob("runs/*-*"):
        if path.is_dir():
            tables[verify(path).stage] = path
    ids = pq.read_table(tables["curate"] / "examples.parquet")["example_id"].to_pylist()
    left_out = pq.read_table(tables["tokenize"] / "left_out.parquet")["example_id"].to_pylist()
    scored = pq.read_table(tables["score_entropy"] / "entropy.parquet")["example_id"].to_pylist()
    assert sorted(scored + left_out) == sorted(ids)
    assert not list(project.glob("runs/*.partial"))
