"""What goes wrong around a run on a real cluster, and what it costs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import right_records, write_records
from jobs import make_joint_job
from slurm.cluster import Cluster
from slurm.steps import (
    make_project,
    only_stage,
    send,
    steps_taken,
    wait_over,
    wait_until,
    wmss,
    write_profile,
)

from wmss_cli.core.artifact import Job
from wmss_cli.core.manifest import read_manifest

# With other tests beside it, a training may take minutes to begin.
_BUSY_S = 400.0
PAIR = {"nodes": 1, "tasks_per_node": 2, "time_limit_min": 10, "signal_lead_s": 60}


def rank_pid(job_id: str, rank: int) -> int:
    """Return the process of a rank: what slurmstepd has started, without its own workers."""
    wanted = {f"SLURM_JOB_ID={job_id}", f"SLURM_PROCID={rank}"}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes come and go.
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_text(errors="replace").split("\0")
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            watched = Path(f"/proc/{parent}/cmdline").read_text().startswith("slurmstepd")
            is_rank = "submitit.core._submit" in (folder / "cmdline").read_text()
            if watched and is_rank and wanted <= set(variables):
                found.append(int(folder.name))
    (pid,) = found
    return pid


def log(job: Job) -> str:
    paths = (Path(job.out).parent / "slurm").glob("*/*_0_log.out")
    return "".join(path.read_text() for path in paths)


@pytest.mark.usefixtures("on_cluster")
def test_a_rank_that_is_killed_is_named(tmp_path: Path) -> None:
    job = make_joint_job(tmp_path / "run", epochs=8.0, zero_stage=1)
    ledger, sent = send(job, train=PAIR | {"mem_gb": 2})
    wait_until(lambda: steps_taken(job) > 5, timeout_s=_BUSY_S)
    os.kill(rank_pid(sent.job_ids[0], 1), signal.SIGKILL)
    assert wait_over(ledger, _BUSY_S).state == "failed"

    def why() -> str:
        failure = only_stage(ledger).failure
        return failure.why if failure is not None else ""

    assert why().startswith("killed by SIGKILL (signal 9): process 1 on n")
    failure = only_stage(ledger).failure
    assert failure is not None
    assert "--slurm train.mem_gb=" in failure.fix


def test_a_job_that_is_held_after_its_end_is_cancelled_and_not_sent_twice(
    on_cluster: Cluster, tmp_path: Path
) -> None:
    write_profile(tmp_path, setup=["false"])
    write_records(tmp_path / "data.jsonl", right_records(4))
    slurm = ("--cluster", "slurm", "--profile", "profile.yaml")
    curate = ("curate", "data.jsonl", "-o", "run/curated", *slurm)
    first = json.loads(wmss(tmp_path, *curate, "--json").stdout)[0]["jobs"][0]
    on_cluster.wait_state(first, "FAILED")
    on_cluster.run("scontrol", "requeuehold", "State=SpecialExit", first)
    status = json.loads(wmss(tmp_path, "status", "run", "--json").stdout)
    (stage,) = status["stages"]
    assert stage["state"] == "waiting"
    assert f"'scontrol release {first}'" in stage["words"]
    again = wmss(tmp_path, "retry", "run")
    assert "queued before" in again.stdout
    cancelled = wmss(tmp_path, "cancel", "run", "--yes")
    assert cancelled.stderr.startswith("Cancelled 1 job. ")
    on_cluster.wait_state(first, "CANCELLED")


def test_stages_that_are_sent_by_hand_wait_for_each_other(
    on_cluster: Cluster, tmp_path: Path
) -> None:
    del on_cluster
    make_project(tmp_path)
    slurm = ("--cluster", "slurm", "--profile", "profile.yaml")
    commands = [
        ("curate", "data/train.jsonl", "-o", "hand/curated"),
        (
            *("tokenize", "-e", "hand/curated", "-m", "data/init", "-o", "hand/tokens"),
            *("--max-seq-len", "512"),
        ),
        ("sft", "-m", "data/init", "-t", "hand/tokens", "-o", "hand/m1", "-c", "demo.yaml"),
        (*("eval", "-m", "hand/m1", "--task", "w=data/test.jsonl"), "-o", "hand/eval"),
    ]
    for command in commands[:-1]:
        sent = wmss(tmp_path, *command, *slurm)
        assert sent.returncode == 0, sent.stderr
    last = wmss(tmp_path, *commands[-1], "-c", "demo.yaml", *slurm, "--wait")
    assert last.returncode == 0, last.stderr
    read_manifest(tmp_path / "hand" / "eval")


def test_no_more_jobs_than_allowed_are_in_the_queue(on_cluster: Cluster, tmp_path: Path) -> None:
    make_project(tmp_path)
    wait_until(lambda: not on_cluster.run("squeue", "--noheader").strip())
    few = ("--slurm", "max_submitted=3")
    sent = wmss(tmp_path, "run", "demo.yaml", "--set", "arms=[base]", "--cluster", "slurm", *few)
    assert sent.returncode == 0, sent.stderr
    assert "will be sent later (max_submitted: 3)" in sent.stderr
    listed = on_cluster.run("squeue", "--noheader", "--array", "--format=%i").split()
    assert len(listed) <= 3
    shown = wmss(tmp_path, "status", "runs")
    assert "will be sent later" in shown.stdout
    dropped = wmss(tmp_path, "cancel", "runs", "--yes")
    assert "that were not sent yet" in dropped.stderr
    again = wmss(tmp_path, "retry", "runs", *few, "--wait", timeout_s=600)
    assert again.returncode == 0, again.stderr
    submissions = wmss(tmp_path, "status", "runs", "--json")
    assert json.loads(submissions.stdout)["state"] == "done"


@pytest.fixture(autouse=True)
def _nothing_is_left(on_cluster: Cluster) -> Iterator[None]:
    yield
    ids = on_cluster.run("squeue", "--noheader", "--format=%A").split()
    if ids:
        on_cluster.run("scancel", *set(ids))
