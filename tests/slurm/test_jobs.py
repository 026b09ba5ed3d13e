"""Jobs that fail, that are sent twice, that Slurm refuses; and what status says of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import WMSS, right_records, write_records
from slurm.cluster import Cluster
from slurm.steps import (
    elsewhere,
    make_project,
    only_stage,
    resume,
    send,
    wait_over,
    wait_until,
    wmss,
    write_profile,
)
from table import make_token_table
from tiny import make_tiny_model

from wmss_cli.core.artifact import Job
from wmss_cli.core.config import CurateConfig, ScoreConfig
from wmss_cli.core.manifest import read_manifest
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.stages import table
from wmss_cli.stages.plan import Plan, external

pytestmark = pytest.mark.usefixtures("on_cluster")


def curate_job(folder: Path) -> Job:
    folder.mkdir(parents=True, exist_ok=True)
    data = write_records(folder / "data.jsonl", right_records(4))
    plan = Plan(folder / "run")
    plan.add("curate", "curate", CurateConfig(), {"data-0000": external(data)})
    return plan.steps[0].job


@pytest.fixture(scope="module")
def score_job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Entropies in three shards."""
    folder = tmp_path_factory.mktemp("scores")
    make_tiny_model(folder / "model")
    make_token_table(folder / "tokens", folder / "model", [(4, 3 + i % 9) for i in range(10)])
    plan = Plan(folder / "run")
    inputs = {name: external(folder / name) for name in ("model", "tokens")}
    plan.add("scores", "score_entropy", ScoreConfig(shards=3), inputs)
    return plan.steps[0].job


@pytest.fixture(scope="module", autouse=True)
def sleeper(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A job that sleeps past its limit of two minutes, while the other tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in cluster.environment.items():
            patch.setenv(name, text)
        job = curate_job(tmp_path_factory.mktemp("sleeper"))
        limit = {"time_limit_min": 2, "signal_lead_s": 60}
        return send(job, "curate", cpu=limit, setup=["sleep 600"])[0]


@pytest.fixture
def full(cluster: Cluster) -> Iterator[None]:
    """Let no job start while a test looks at the queue; end what it left there."""
    cluster.run("scontrol", "update", "nodename=n[1-2]", "state=drain", "reason=test")
    yield
    waiting = cluster.run("squeue", "--noheader", "--states=PENDING", "--format=%A").split()
    if waiting:
        cluster.run("scancel", *set(waiting))
    resume(cluster)


def queued(cluster: Cluster, run: Path) -> Counter[str]:
    """Count the jobs of a run that wait, by name."""
    names = {path.name for path in (run / "slurm").glob("wmss-*")}
    text = cluster.run("squeue", "--noheader", "--states=PENDING", "--format=%j")
    return Counter(name for name in text.split() if name in names)


def why(ledger: Ledger) -> str | None:
    failure = only_stage(ledger).failure
    return None if failure is None else failure.why


def test_a_shard_that_crashes_twice_is_retried_alone(score_job: Job, tmp_path: Path) -> None:
    whole = elsewhere(score_job, tmp_path / "local")
    table.run(whole)
    here = elsewhere(score_job, tmp_path / "run")
    (tmp_path / "crashes").mkdir()
    crash = (
        f"case $SLURM_JOB_NAME:${{SLURM_ARRAY_TASK_ID:-1}} in *.0-2:1) "
        f"if [ $(ls {tmp_path}/crashes | wc -l) -lt 2 ]; then "
        f"touch {tmp_path}/crashes/$SLURM_JOB_ID; kill -9 $$; fi;; esac"
    )
    ledger, _ = send(here, "scores", setup=[crash])
    for attempt in (1, 2):
        assert wait_over(ledger).state == "failed"
        # The accounts may come to know the signal a moment after the end.
        wait_until(lambda: why(ledger) == "killed by SIGKILL (signal 9)")
        stage = only_stage(ledger)
        assert stage.tasks.done == 2
        assert stage.failure is not None
        assert stage.failure.fix.startswith("wmss retry ")
        assert len(list((tmp_path / "crashes").iterdir())) == attempt
        retried = wmss(tmp_path, "retry", "run")
        assert retried.returncode == 0, retried.stderr
    assert wait_over(ledger).state == "done"
    (shards,) = (v for name, v in ledger.submissions().items() if name.endswith(".0-2"))
    assert [entry.parts for entry in shards] == [[0, 1, 2], [1], [1]]
    assert read_manifest(Path(here.out)).digest == read_manifest(Path(whole.out)).digest


def test_what_can_never_start_is_shown_and_not_waited_for(tmp_path: Path) -> None:
    make_project(tmp_path)
    write_profile(tmp_path, setup=["echo no such module", "false", "echo not reached"])
    done = wmss(tmp_path, "run", "demo.yaml", "--cluster", "slurm", "--wait")
    assert done.returncode == 5, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: curate: failed with exit code 1")
    shown = wmss(tmp_path, "status", "runs")
    assert "| no such module" in shown.stdout
    assert "not reached" not in shown.stdout
    assert (
        "fix: fix setup or python of the profile (see the log), then: wmss retry runs"
        in shown.stdout
    )
    assert "\x1b" not in shown.stdout
    # What is copied stays whole.
    others = [line for line in shown.stdout.splitlines() if not line.startswith("  ")]
    assert max(map(len, others)) <= 80
    status = json.loads(wmss(tmp_path, "status", "runs", "--json").stdout)
    states = {stage["label"]: stage["state"] for stage in status["stages"]}
    assert states.pop("curate") == "failed"
    assert set(states.values()) <= {"cancelled", "failed"}
    words = {stage["label"]: stage["words"] for stage in status["stages"]}
    assert words["report"] == "cannot start: an earlier stage failed"
    logged = wmss(tmp_path, "logs", "runs", "curate")
    assert logged.stdout == "no such module\n"


@pytest.mark.usefixtures("full")
def test_two_submitters_at_once_end_with_one_chain(cluster: Cluster, tmp_path: Path) -> None:
    make_project(tmp_path)
    command = [*WMSS, "run", "demo.yaml", "--cluster", "slurm", "--json"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    said = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    states = [{link["state"] for link in links} for links in said]
    assert states in ([{"queued"}, {"sent"}], [{"sent"}, {"queued"}])
    jobs = [{job.split("_")[0] for link in links for job in link["jobs"]} for links in said]
    assert jobs[0] == jobs[1]
    assert set(queued(cluster, tmp_path / "runs").values()) == {1}
    cancelled = wmss(tmp_path, "cancel", "runs", "--yes")
    assert cancelled.returncode == 0, cancelled.stderr
    assert not queued(cluster, tmp_path / "runs")


@pytest.mark.usefixtures("full")
def test_ctrl_c_ends_the_watching_and_not_the_jobs(cluster: Cluster, tmp_path: Path) -> None:
    make_project(tmp_path)
    process = subprocess.Popen(
        [*WMSS, "run", "demo.yaml", "--cluster", "slurm", "--wait"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored, tests included.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    # The first look is shown, and the next one is ten seconds away.
    for line in process.stderr:
        if line.startswith("report: "):
            break
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(30) == 130
    assert said.endswith(
        "error: detached, the jobs continue: 'wmss status runs' shows them, "
        "'wmss cancel runs' ends them\n"
    )
    assert len(queued(cluster, tmp_path / "runs")) > 10


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_submitter_that_is_killed_leaves_one_chain(
    cluster: Cluster, full: None, tmp_path: Path, when: str
) -> None:
    del full
    make_project(tmp_path)
    real = shutil.which("sbatch")
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    send_it = f'{real} "$@"'
    lines = ["kill -9 $PPID"] if when == "before" else [send_it, "kill -9 $PPID"]
    wrapper.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    wrapper.chmod(0o755)
    environment = {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    command = [*WMSS, "run", "demo.yaml", "--cluster", "slurm"]
    killed = subprocess.run(command, cwd=tmp_path, env=environment, check=False, timeout=60)
    assert killed.returncode == -9
    ledger = Ledger(tmp_path / "runs")
    assert [entry.event for entry in ledger.entries()] == ["intent"]
    assert sum(queued(cluster, tmp_path / "runs").values()) == (when == "after")
    again = wmss(tmp_path, "run", "demo.yaml", "--cluster", "slurm")
    assert again.returncode == 0, again.stderr
    assert ("queued before" in again.stdout) == (when == "after")
    assert set(queued(cluster, tmp_path / "runs").values()) == {1}
    # The job whose submitter died finds what it needs.
    resume(cluster)
    wait_until(lambda: list((tmp_path / "runs").glob("curate-*/manifest.json")))
    wmss(tmp_path, "cancel", "runs", "--yes")


def test_what_no_node_has_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    make_project(tmp_path)
    run = ("run", "demo.yaml", "--cluster", "slurm")
    many = ("--slurm", "train.gpus_per_node=9", "--slurm", "train.tasks_per_node=9")
    refused = wmss(tmp_path, *run, *many)
    assert refused.returncode == 3
    assert refused.stderr == (
        f"error: profile {tmp_path}/profile.yaml: train jobs: 9 GPUs per node requested, gpu has "
        "4; set train.gpus_per_node and train.tasks_per_node to 4\n"
    )
    refused = wmss(tmp_path, *run, "--slurm", "partition=nowhere")
    assert refused.returncode == 3
    assert refused.stderr.endswith("no partition nowhere; set partition to one of gpu, urgent\n")
    assert not (tmp_path / "runs").exists()
    shown = wmss(tmp_path, *run, *many, "--dry-run")
    assert (shown.returncode, shown.stdout) == (3, "")
    assert "9 GPUs per node requested, gpu has 4" in shown.stderr
    doctor = wmss(tmp_path, "doctor", "--profile", "profile.yaml", *many[:2], "--json")
    assert doctor.returncode == 3
    (finding,) = (f for f in json.loads(doctor.stdout) if f["what"] == "train jobs")
    assert finding["found"] == "9 GPUs per node requested, gpu has 4"


def test_what_slurm_refuses_is_one_line_and_code_4(tmp_path: Path) -> None:
    make_project(tmp_path)
    run = ("run", "demo.yaml", "--cluster", "slurm")
    refused = wmss(tmp_path, *run, "--slurm", "reservation=none-of-ours")
    assert refused.returncode == 4
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: sbatch: wmss-curate-")
    assert "Requested reservation is invalid" in line


def test_the_doctor_looks_from_two_nodes(tmp_path: Path) -> None:
    write_profile(tmp_path, train={"gpus_per_node": 1, "signal_lead_s": 60})
    doctor = wmss(tmp_path, "doctor", "--profile", "profile.yaml", "--submit", "--json")
    found = {finding["what"]: finding for finding in json.loads(doctor.stdout)}
    assert found["job"]["found"] == "2 ranks on n1, n2"
    assert found["shared folder"]["state"] == "ok"
    assert found["environment"]["state"] == "ok"
    assert found["environment"]["found"].startswith(sys.executable)
    assert found["all-reduce"]["found"].endswith("over 2 ranks on 2 nodes")
    assert found["eval.engine auto"]["found"] == "static, since there is no GPU"
    # Fake GPUs: Slurm gives one, torch sees none.
    assert found["GPUs"]["state"] == "missing"
    assert doctor.returncode == 3
    assert [path.name for path in tmp_path.iterdir()] == ["profile.yaml"]


def test_a_bench_measures_on_a_node(tmp_path: Path) -> None:
    write_profile(tmp_path)
    sent = ("--cluster", "slurm", "--profile", "profile.yaml", "--wait")
    small = ("--size", "small", "--rounds", "1")
    done = wmss(tmp_path, "bench", "loss", *small, *sent, "--out", "run/bench", "--json")
    assert done.returncode == 0, done.stderr
    (part,) = json.loads(done.stdout)["parts"]
    assert part["bench"] == "loss"
    assert read_manifest(tmp_path / "run" / "bench").job_id is not None


def test_init_writes_a_profile_of_the_cluster(tmp_path: Path) -> None:
    assert wmss(tmp_path, "init", "--profile").stdout == "cluster.yaml\n"
    text = (tmp_path / "cluster.yaml").read_text()
    assert "gpu_type: h800" in text
    assert all("#" in line for line in text.splitlines() if line)
    checked = wmss(tmp_path, "doctor", "--profile", "cluster.yaml")
    assert checked.returncode == 0, checked.stdout


def test_status_works_without_accounts(
    on_cluster_without_accounting: Cluster, score_job: Job, tmp_path: Path
) -> None:
    assert not on_cluster_without_accounting.accounting
    here = elsewhere(score_job, tmp_path / "run")
    crash = f"[ ${{SLURM_ARRAY_TASK_ID:-0}} = 0 ] || [ -e {tmp_path}/fixed ]"
    ledger, _ = send(here, "scores", setup=[crash])
    assert wait_over(ledger).state == "failed"
    status: dict[str, Any] = json.loads(wmss(tmp_path, "status", "run", "--json").stdout)
    assert status["notes"] == ["this cluster keeps no accounts: no GPU-hours, no efficiency"]
    (stage,) = status["stages"]
    assert stage["tasks"] == {
        "done": 1,
        "running": 0,
        "waiting": 0,
        "failed": 2,
        "cancelled": 1,
        "total": 4,
    }
    assert stage["failure"]["why"] == "failed"
    (tmp_path / "fixed").touch()
    assert wmss(tmp_path, "retry", "run").returncode == 0
    assert wait_over(ledger).state == "done"
    assert only_stage(ledger).tasks.done == 4


def test_a_job_that_reaches_its_time_limit_is_shown_as_such(
    cluster: Cluster, sleeper: Ledger
) -> None:
    del cluster
    status = wait_over(sleeper)
    assert status.state == "failed"
    failure = only_stage(sleeper).failure
    assert failure is not None
    assert failure.why == "reached its time limit"
    assert failure.fix == f"wmss retry {sleeper.run_dir} --slurm cpu.time_limit_min=4"
