"""The cluster that the other tests in this folder run on does what a cluster does."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from slurm.cluster import Cluster, ClusterError

# A task that writes down what it is sent, and continues.
NOTING = """\
trap 'echo TERM >> {noted}' TERM
trap 'echo USR2 >> {noted}; {on_usr2}' USR2
echo start >> {noted}
while true; do sleep 0.2; done
"""


def submit_noting(
    cluster: Cluster, folder: Path, *options: str, on_usr2: str = "true"
) -> tuple[str, Path]:
    """Submit a job with one task on each node, and wait until it runs."""
    noted, task, script = folder / "noted", folder / "task.sh", folder / "job.sh"
    task.write_text(NOTING.format(noted=f"{noted}.$SLURM_PROCID", on_usr2=on_usr2))
    script.write_text(f"#!/bin/bash\nsrun bash {task}\n")
    output = folder / "output"
    sizes = ["--nodes=2", "--ntasks=2", "--exclusive", f"--output={output}"]
    job_id = cluster.run("sbatch", "--parsable", *sizes, *options, str(script)).strip()
    wait_noted(noted, "start", 2)
    return job_id, noted


def wait_noted(noted: Path, word: str, count: int) -> None:
    """Wait until the tasks have written a word that many times."""
    for _ in range(1800):
        files = sorted(noted.parent.glob(f"{noted.name}.*"))
        if [word in file.read_text() for file in files].count(True) == count:
            return
        time.sleep(0.1)
    pytest.fail(f"not {count} times {word}: {[file.read_text() for file in files]}")


def submit_urgent(cluster: Cluster) -> str:
    options = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
    return cluster.run("sbatch", "--parsable", *options, "--wrap=true").strip()


def test_both_nodes_are_idle(cluster: Cluster) -> None:
    cluster.wait_idle()
    listed = cluster.run("sinfo", "--noheader", "--Node", "--partition=gpu", "--format=%N %T %G")
    assert listed.splitlines() == ["n1 idle gpu:h800:4", "n2 idle gpu:h800:4"]


def test_a_step_sees_gpus_on_both_nodes(cluster: Cluster) -> None:
    show = "echo $SLURMD_NODENAME $SLURM_PROCID $CUDA_VISIBLE_DEVICES"
    sizes = ["--nodes=2", "--ntasks-per-node=2", "--gres=gpu:2"]
    seen = cluster.run("srun", *sizes, "bash", "-c", show)
    assert sorted(seen.splitlines()) == ["n1 0 0,1", "n1 1 0,1", "n2 2 0,1", "n2 3 0,1"]


def test_the_last_distribution_counts_so_that_a_profile_wins(cluster: Cluster) -> None:
    own = "--distribution=block:block"
    show = ["--nodes=2", "--ntasks-per-node=2", "bash", "-c", "echo $SLURM_DISTRIBUTION"]
    assert set(cluster.run("srun", own, *show).split()) == {"block:block"}
    assert set(cluster.run("srun", own, "--distribution=cyclic", *show).split()) == {"cyclic"}


def test_sacct_knows_a_finished_job(cluster: Cluster) -> None:
    failing = ["sbatch", "--parsable", "--wait", "--output=/dev/null", "--wrap=exit 3"]
    with pytest.raises(ClusterError, match="exit 3"):
        cluster.run(*failing)
    job_id = cluster.run(*failing[:-1], "--wrap=true").strip()
    fields = ["--parsable2", "--noheader", "--allocations", "--format=State,ExitCode"]
    for _ in range(1800):
        listed = cluster.run("sacct", f"--jobs={int(job_id) - 1},{job_id}", *fields).splitlines()
        if listed == ["FAILED|3:0", "COMPLETED|0:0"]:
            return
        time.sleep(0.1)
    pytest.fail(str(listed))


def test_no_sacct_without_accounting(cluster_without_accounting: Cluster) -> None:
    assert cluster_without_accounting.run("srun", "hostname")
    with pytest.raises(ClusterError, match="accounting storage is disabled"):
        cluster_without_accounting.run("sacct")


def test_a_cluster_that_cannot_start_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cluster: Cluster
) -> None:
    broken = tmp_path / "slurmd"
    broken.write_text("#!/bin/sh\necho no memory left\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    failing = Cluster(accounting=False)
    with pytest.raises(ClusterError, match=r"slurmd-n[12] ended: 7\n.*\nno memory left"):
        failing.start()
    assert not failing.folder.exists()
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(failing.folder) not in listed.stdout
    # The other one does not mind.
    cluster.wait_idle()


def test_only_the_jobs_that_a_test_has_sent_are_ended_after_it(cluster: Cluster) -> None:
    sleeping = ["sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600"]
    kept = cluster.run(*sleeping).strip()
    cluster.wait_state(kept, "RUNNING")
    before = cluster.active_jobs()
    assert kept in before
    cluster.run(*sleeping, "--array=0-2", "--nodes=2")
    cluster.end_jobs(cluster.active_jobs() - before)
    assert cluster.active_jobs() == before
    assert cluster.job(kept)["JobState"] == "RUNNING"


def test_no_larger_array_than_is_allowed(cluster: Cluster) -> None:
    shown = re.search(r"MaxArraySize *= (\d+)", cluster.run("scontrol", "show", "config"))
    assert shown
    allowed = int(shown[1])
    array = ["sbatch", "--output=/dev/null", "--wrap=true"]
    cluster.run(*array, f"--array=0-{allowed - 1}")
    with pytest.raises(ClusterError, match="Invalid job array specification"):
        cluster.run(*array, f"--array=0-{allowed}")


def test_a_requeued_job_waits_until_it_is_told(
    cluster_without_accounting: Cluster, tmp_path: Path
) -> None:
    # The one where a requeued job waits as long as Slurm itself lets it.
    cluster = cluster_without_accounting
    job_id, _ = submit_noting(cluster, tmp_path)
    cluster.run("scontrol", "requeue", job_id)
    cluster.wait_state(job_id, "PENDING")
    assert cluster.job(job_id)["Reason"] == "BeginTime"
    cluster.run("scontrol", "update", f"jobid={job_id}", "starttime=now")
    cluster.wait_state(job_id, "RUNNING")
    assert cluster.job(job_id)["Restarts"] == "1"
    cluster.run("scancel", job_id)
    cluster.wait_state(job_id, "CANCELLED")


def test_a_preempted_job_has_time_to_requeue_itself(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait_idle()
    requeue = (
        "if [ $SLURM_PROCID = 0 ]; then scontrol show job $SLURM_JOB_ID > $0.job; "
        "scontrol requeue $SLURM_JOB_ID; fi; exit"
    )
    job_id, noted = submit_noting(cluster, tmp_path, "--signal=USR2@60", on_usr2=requeue)
    urgent_id = submit_urgent(cluster)
    cluster.wait_state(urgent_id, "COMPLETED")
    cluster.wait_state(job_id, "PENDING")
    assert cluster.job(job_id)["Restarts"] == "1"
    # In its time of grace the job was running, or being signalled, with a new end.
    shown = (tmp_path / "task.sh.job").read_text()
    assert re.search(r"JobState=(RUNNING|SIGNALING)", shown)
    assert re.search(r"PreemptTime=\d", shown)
    # By USR2 instead of TERM, since it has asked for that.
    wait_noted(noted, "USR2", 2)
    cluster.run("scancel", job_id)


def test_a_preempted_job_is_requeued_after_its_time_of_grace(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.wait_idle()
    cluster.run("scontrol", "update", "partitionname=gpu", "gracetime=1")
    try:
        job_id, noted = submit_noting(cluster, tmp_path)
        urgent_id = submit_urgent(cluster)
        wait_noted(noted, "TERM", 2)
        assert cluster.job(urgent_id)["JobState"] == "PENDING"
        # Slurm looks for jobs at the end of their time every half minute.
        cluster.wait_state(urgent_id, "COMPLETED")
    finally:
        cluster.run("scontrol", "update", "partitionname=gpu", "gracetime=30")
    assert cluster.job(job_id)["JobState"] == "PENDING"
    assert cluster.job(job_id)["Restarts"] == "1"
    cluster.run("scancel", job_id)
