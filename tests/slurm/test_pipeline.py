"""The demo's pipeline as a chain of jobs equals the pipeline on one machine."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
import yaml
from slurm.steps import make_project, results, wmss

from wmss_cli.core.ports import free_port
from wmss_cli.core.resolve import resolve
from wmss_cli.stages import table
from wmss_cli.stages.pipeline import plan_pipeline

pytestmark = pytest.mark.usefixtures("on_cluster")

SPEED = ("tokens_per_s", "seconds")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"), ("curate", "eval")).parent


def without_speed(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_speed(v) for k, v in value.items() if not k.endswith(SPEED)}
    return value


def run_here(project: Path, out: str) -> None:
    """Run all stages of the pipeline in this process, one after the other."""
    os.chdir(project)
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(ranks, MASTER_PORT=str(free_port()))
    given = resolve(Path("demo.yaml"), (), {"run_dir": ("--out", out)})
    for step in plan_pipeline(given.config).steps:
        table.run(step.job)


def test_the_whole_pipeline_gives_the_results_of_a_local_run(project: Path) -> None:
    # A process for each stage, as `wmss run` starts them, would import torch twelve times.
    local = multiprocessing.get_context("spawn").Process(target=run_here, args=(project, "local"))
    local.start()
    local.join()
    assert local.exitcode == 0
    sent = wmss(project, "run", "demo.yaml", "--cluster", "slurm")
    assert sent.returncode == 0, sent.stderr
    assert "next: wmss status runs" in sent.stderr
    assert "score-base" in sent.stdout
    followed = wmss(project, "run", "demo.yaml", "--cluster", "slurm", "--wait")
    assert followed.returncode == 0, followed.stderr
    assert "report: done" in followed.stderr
    assert "report.html" in followed.stdout
    assert without_speed(results(project / "runs")) == without_speed(results(project / "local"))


def test_a_finished_run_is_shown_as_done_and_nothing_is_submitted_again(project: Path) -> None:
    status = json.loads(wmss(project, "status", "runs", "--json").stdout)
    assert {stage["state"] for stage in status["stages"]} == {"done"}
    (scores,) = (stage for stage in status["stages"] if stage["label"] == "score-base")
    # Two arrays, since one may hold three tasks, and the merge.
    assert scores["tasks"]["done"] == 5
    ledger = project / "runs" / "slurm" / "ledger.jsonl"
    before = ledger.read_text()
    again = wmss(project, "run", "demo.yaml", "--cluster", "slurm")
    assert "report.html" in again.stdout
    assert ledger.read_text() == before


def test_run_folders_are_for_the_user_alone(project: Path) -> None:
    for folder in (project / "runs", project / "runs" / "slurm"):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_dry_run_shows_the_script_that_is_sent(project: Path) -> None:
    shown = wmss(project, "run", "demo.yaml", "--cluster", "slurm", "--dry-run", "--out", "dry")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr.count("would start at") == shown.stdout.count("#!/bin/bash")
    assert not (project / "dry").exists()
    scripts = (project / "runs" / "slurm").glob("wmss-curate-*/*_submission.sh")
    sent = next(script for script in scripts if not script.parent.name.endswith(".merge"))
    folder = sent.parent.name
    text = shown.stdout.split("#!/bin/bash")[1]
    name = next(line for line in text.splitlines() if "--job-name" in line).split("=")[1]
    text = text.replace(f"dry/slurm/{name}", f"runs/slurm/{folder}").replace(name, folder)
    assert f"#!/bin/bash{text}".strip() == sent.read_text().strip()


def sent_by(project: Path, before: str) -> set[str]:
    """Return the labels of the jobs that were sent since the ledger was this long."""
    lines = (project / "runs" / "slurm" / "ledger.jsonl").read_text()[len(before) :].splitlines()
    entries = [json.loads(line) for line in lines]
    names = [entry["name"].split(".")[0] for entry in entries if entry["event"] == "sent"]
    return {name.removeprefix("wmss-").rpartition("-")[0] for name in names}


def test_a_seed_and_an_arm_that_are_added_later_are_all_that_is_sent(project: Path) -> None:
    config = yaml.safe_load((project / "demo.yaml").read_text())
    before = (project / "runs" / "slurm" / "ledger.jsonl").read_text()
    study = {"arms": ["wmss", "continued_sft"], "seeds": [0, 1], "compare_with": "wmss"}
    (project / "study.yaml").write_text(yaml.safe_dump(config | study))
    sent = wmss(project, "run", "study.yaml", "--cluster", "slurm")
    assert sent.returncode == 0, sent.stderr
    # Seed 0 of wmss is what was run before, under names without a seed.
    pair = ("m1", "score-m1", "curriculum", "wmss", "eval-wmss", "logits-wmss", "logits-wmss-weak")
    other = [f"{what}continued_sft" for what in ("", "eval-", "logits-")]
    wanted = {f"{name}-s1" for name in (*pair, *other)} | {f"{name}-s0" for name in other}
    assert sent_by(project, before) == wanted | {"report"}
    arm = ("--arm", "continued_sft", "--seed", "1")
    shown = wmss(project, "status", "runs", *arm, "--json")
    stages = {stage["label"]: stage["state"] for stage in json.loads(shown.stdout)["stages"]}
    assert stages["curate"] == "done"
    assert "continued_sft/s1" in stages
    assert "continued_sft/s0" not in stages
    # They are jobs like those above.
    assert wmss(project, "cancel", "runs", "--yes").returncode == 0
