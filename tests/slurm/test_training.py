"""Training in jobs: two nodes, told to stop, out of time, preempted, a node that fails."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from jobs import make_joint_job
from slurm.cluster import Cluster
from slurm.steps import (
    elsewhere,
    only_stage,
    resume,
    send,
    steps_taken,
    wait_over,
    wait_until,
    wmss,
)

from wmss_cli.core.artifact import Job
from wmss_cli.core.manifest import read_manifest
from wmss_cli.launch.local import run_local

ALONE = {"nodes": 1, "tasks_per_node": 1, "time_limit_min": 10, "signal_lead_s": 60}
PAIR = ALONE | {"tasks_per_node": 2}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job of some seconds, with dropout; few of its steps are saved."""
    return make_joint_job(
        tmp_path_factory.mktemp("joint"), epochs=14.0, save_every_steps=30, zero_stage=1
    )


@pytest.fixture(scope="module")
def undisturbed(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """Return the digest of what some local ranks make of the job without a break."""

    @cache
    def made_by(ranks: int) -> str:
        local = elsewhere(job, tmp_path_factory.mktemp("local"))
        return run_local(local, processes=ranks).manifest.digest

    return made_by


def digest(job: Job) -> str:
    return read_manifest(Path(job.out)).digest


def log(job: Job) -> str:
    paths = (Path(job.out).parent / "slurm").glob("*/*_0_log.out")
    return "".join(path.read_text() for path in paths)


def process_of(rank: int, job_id: str) -> int:
    """Return the process of a rank; the cluster's nodes are this machine."""
    wanted = {f"SLURM_JOB_ID={job_id}", f"SLURM_PROCID={rank}"}
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted <= set(path.read_text(errors="replace").split("\0")):
                found.append(int(path.parent.name))
    # What it has started has its environment, and a greater number.
    return min(found)


def test_two_nodes_give_the_weights_of_two_local_processes(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path / "cluster")
    ledger, sent = send(here, train=ALONE | {"nodes": 2})
    assert sent.state == "sent"
    assert wait_over(ledger).state == "done"
    assert on_cluster.job(sent.job_ids[0])["NodeList"] == "n[1-2]"
    assert digest(here) == undisturbed(2)
    manifest = read_manifest(Path(here.out))
    assert manifest.metrics["world_size"] == 2
    assert manifest.job_id == sent.job_ids[0]
    for rank in ("0", "1"):
        shown = wmss(tmp_path, "logs", "cluster", "joint", "--rank", rank, "--follow")
        assert shown.returncode == 0
        assert f"{sent.job_ids[0]}_{rank}_log.out" in shown.stderr
        assert f"global_rank={rank}(2)" in shown.stdout


def test_a_signal_saves_requeues_and_ends_in_equal_bits(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    ledger, sent = send(here, train=PAIR)
    wait_until(lambda: steps_taken(here) > 5)
    on_cluster.run("scancel", "--signal=USR2", sent.job_ids[0])
    wait_until(lambda: only_stage(ledger).state == "waiting")
    assert only_stage(ledger).words.startswith("requeued")
    saved = steps_taken(here)
    assert wait_over(ledger).state == "done"
    assert digest(here) == undisturbed(2)
    assert "of 154, all saved" in log(here)
    assert "requeued, to continue (1 of at most 20 times)" in log(here)
    assert saved < 154
    assert read_manifest(Path(here.out)).attempt == 2


def test_the_time_limit_saves_requeues_and_ends_in_equal_bits(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    ledger, sent = send(here, train=ALONE | {"time_limit_min": 2})
    wait_until(lambda: steps_taken(here) > 0)
    # Too short to come near its limit at its own pace, it rests until Slurm's signal wakes it.
    on_cluster.run("scancel", "--signal=STOP", sent.job_ids[0])
    wait_until(lambda: only_stage(ledger).state == "waiting")
    assert wait_over(ledger).state == "done"
    assert "stopped by SIGUSR2" in log(here)
    assert digest(here) == undisturbed(1)


def test_preemption_saves_requeues_and_ends_in_equal_bits(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    ledger, sent = send(here, train=ALONE)
    wait_until(lambda: steps_taken(here) > 5)
    urgent = on_cluster.run(
        *("sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive"),
        *("--output=/dev/null", "--wrap=sleep 2"),
    ).strip()
    wait_until(lambda: on_cluster.job(urgent)["JobState"] == "COMPLETED")
    assert wait_over(ledger).state == "done"
    assert "requeued, to continue" in log(here)
    assert digest(here) == undisturbed(1)
    assert read_manifest(Path(here.out)).job_id == sent.job_ids[0]


def test_a_node_that_fails_costs_the_steps_since_the_last_checkpoint(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    ledger, sent = send(here, train=ALONE)
    wait_until(lambda: steps_taken(here) > 35)
    node = on_cluster.job(sent.job_ids[0])["NodeList"]
    on_cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        wait_until(lambda: on_cluster.job(sent.job_ids[0])["Restarts"] == "1")
    finally:
        resume(on_cluster)
    assert wait_over(ledger).state == "done"
    assert digest(here) == undisturbed(1)
    assert read_manifest(Path(here.out)).attempt == 2


def test_a_cancelled_job_saves_and_is_not_requeued(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    ledger, sent = send(here, train=ALONE)
    wait_until(lambda: steps_taken(here) > 5)
    on_cluster.run("scancel", sent.job_ids[0])
    status = wait_over(ledger)
    assert status.state == "cancelled"
    assert list(Path(f"{here.out}.partial", "checkpoints").glob("step-*"))
    time.sleep(2)
    assert only_stage(ledger).state == "cancelled"
    send(here, train=ALONE)
    assert wait_over(ledger).state == "done"
    assert digest(here) == undisturbed(1)


def test_without_scontrol_on_the_nodes_a_chain_of_jobs_continues(
    on_cluster: Cluster, job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    # The nodes' PATH has Python and srun, and nothing else of Slurm.
    (tmp_path / "bin").mkdir()
    srun = shutil.which("srun")
    assert srun is not None
    (tmp_path / "bin" / "srun").symlink_to(srun)
    here = elsewhere(job, tmp_path / "run")
    ledger, sent = send(
        here,
        requeue="chain",
        chained_jobs=2,
        train=ALONE,
        setup=[f"export PATH={tmp_path}/bin", "! command -v scontrol"],
    )
    assert sent.link.after is not None
    wait_until(lambda: steps_taken(here) > 5)
    (running,) = only_stage(ledger).jobs
    on_cluster.run("scancel", "--signal=USR2", running)
    assert wait_over(ledger).state == "done"
    assert digest(here) == undisturbed(1)
    assert "the next job of the chain continues" in log(here)
    assert read_manifest(Path(here.out)).job_id not in (running, sent.job_ids[0])


@pytest.mark.usefixtures("on_cluster")
def test_a_rank_that_sleeps_ends_the_job_which_resumes_from_its_checkpoint(
    job: Job, undisturbed: Callable[[int], str], tmp_path: Path
) -> None:
    here = elsewhere(job, tmp_path)
    here = replace(here, config=here.config | {"hang_limit_min": 0.25})
    ledger, sent = send(here, train=PAIR)
    wait_until(lambda: steps_taken(here) > 35)
    os.kill(process_of(1, sent.job_ids[0]), signal.SIGSTOP)
    wait_until(lambda: only_stage(ledger).state == "waiting")
    assert wait_over(ledger).state == "done"
    assert digest(here) == undisturbed(2)
    assert "rank 1 (host " in log(here)
    assert "has not answered for 0.25 min, since step " in log(here)
    assert "requeued after a hang (1 of at most 20 times)" in log(here)
    manifest = read_manifest(Path(here.out))
    assert (manifest.attempt, manifest.job_id) == (2, sent.job_ids[0])
