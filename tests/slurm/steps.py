"""Small runs for a cluster: a profile, a project with the demo's pipeline, a training job."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from commands import WMSS
from slurm.cluster import Cluster, ClusterError

from wmss_cli.core.artifact import Job, describe
from wmss_cli.core.paths import packaged
from wmss_cli.slurm.chain import Group
from wmss_cli.slurm.decide import Decision
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.profile import Profile
from wmss_cli.slurm.send import submit
from wmss_cli.slurm.status import RunStatus, StageStatus, run_status
from wmss_cli.stages import demo_data
from wmss_cli.stages.demo import DemoDataConfig
from wmss_cli.stages.plan import Step

# Two cores are there in all.
PROFILE: dict[str, Any] = {
    "array_limit": 2,
    **{kind: {"time_limit_min": 10, "signal_lead_s": 60} for kind in ("train", "score", "eval")},
    "cpu": {"time_limit_min": 10, "signal_lead_s": 60},
}


def make_project(folder: Path, sharded: Sequence[str] = ()) -> Path:
    """Write the demo's configuration with a small model and few samples; return its file.

    Some stages can be cut into two shards each, beside the scores.
    """
    config = DemoDataConfig(
        pretrain_samples=8,
        train_samples=100,
        test_problems=6,
        hidden_size=32,
        intermediate_size=64,
        layers=2,
        heads=2,
        head_dim=16,
    )
    values = config.model_dump(mode="json")
    demo_data.run(Job("demo_data", values, values, {}, str(folder / "data")))
    values = yaml.safe_load((packaged("configs") / "demo.yaml").read_text())
    values |= {
        "run_dir": "runs",
        "model": "data/init",
        "data": ["data/train.jsonl"],
        "eval_files": {"word-problems": "data/test.jsonl"},
        # More than one array may hold.
        "score_entropy": {"shards": 4},
        "launch": {"profile": "profile.yaml"},
    }
    values["sft"]["max_steps"] = values["joint"]["max_steps"] = 2
    values["eval"]["max_new_tokens"] = 8
    # Arms are jobs like the others; tests/cli/test_run.py has two of them.
    values |= {"arms": ["wmss"], "seeds": [], "compare_with": None}
    for stage in sharded:
        values[stage] = {**values.get(stage, {}), "shards": 2}
    write_profile(folder)
    file = folder / "demo.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def write_profile(folder: Path, **changes: Any) -> Path:
    file = folder / "profile.yaml"
    file.write_text(yaml.safe_dump(PROFILE | changes))
    return file


def wmss(folder: Path, *arguments: str, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, without a terminal."""
    return subprocess.run(
        [*WMSS, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def send(job: Job, label: str = "joint", **changes: Any) -> tuple[Ledger, Decision]:
    """Submit one job as a run of its own, and return its ledger and what was sent last."""
    run_dir = Path(job.out).parent
    step = Step(label, job, describe(job)[0], ())
    profile = Profile.model_validate(PROFILE | changes)
    group = Group(steps=[step], profile=profile, profile_name="test", max_array_size=1)
    sent = submit(run_dir, [group])
    return Ledger(run_dir), sent[-1]


def elsewhere(job: Job, folder: Path) -> Job:
    """Return the same job with its result in another folder."""
    return replace(job, out=str(folder / Path(job.out).name))


def only_stage(ledger: Ledger) -> StageStatus:
    (stage,) = run_status(ledger).stages
    return stage


def wait_over(ledger: Ledger, timeout_s: float = 900) -> RunStatus:
    """Wait until nothing of a run waits or runs."""
    wait_until(lambda: run_status(ledger).is_over, timeout_s)
    return run_status(ledger)


def wait_until(happened: Callable[[], Any], timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)


def steps_taken(job: Job) -> int:
    """Return how many steps the unfinished training has written down."""
    path = Path(f"{job.out}.partial") / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def results(run_dir: Path) -> dict[str, Any]:
    """Return what is the same in two runs of equal work: accuracies, logits, contents."""
    (report,) = run_dir.glob("report-*/results.json")
    found = json.loads(report.read_text())
    digests = {
        path.parent.name: json.loads(path.read_text())["digest"]
        for path in run_dir.glob("*/manifest.json")
        if not path.parent.name.startswith("report")
    }
    arms = [{name: arm[name] for name in ("arm", "tasks", "logits")} for arm in found["arms"]]
    return {"arms": arms, "digests": digests}


def resume(cluster: Cluster) -> None:
    """Let jobs start again, unless they can already."""
    with contextlib.suppress(ClusterError):
        cluster.run("scontrol", "update", "nodename=n[1-2]", "state=resume")
