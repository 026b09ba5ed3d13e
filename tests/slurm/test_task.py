"""What runs in a job: the task of its order, once, with its error and its end told to others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from core.test_launcher_variables import LEFT
from filelock import FileLock
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, finish_shards, group, small_plan

from wmss_cli.core.artifact import Job
from wmss_cli.core.errors import ConfigError, InterruptedRunError
from wmss_cli.core.manifest import read_manifest
from wmss_cli.core.ports import PORTS
from wmss_cli.launch import worker
from wmss_cli.slurm import task
from wmss_cli.slurm.chain import chain
from wmss_cli.slurm.profile import Profile
from wmss_cli.slurm.task import handover_folder, write_order
from wmss_cli.stages.shards import shard_jobs

RUN = (
    "import sys; from wmss_cli.slurm import task; task._LATE_S = 0.0; task.SlurmTask(sys.argv[1])()"
)


def started(order: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the task of an order as srun does in job 1."""
    slurm = {
        **{"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"},
        **{"SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0"},
        **{"SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "localhost"},
    }
    command = [sys.executable, "-c", RUN, str(order)]
    environment = {**os.environ, **slurm, **variables}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def run(order: Path, **variables: str) -> int:
    process = started(order, **variables)
    process.communicate(timeout=60)
    return process.returncode


def order_for(folder: Path, stage: str, parts: list[int], profile: Profile | None = None) -> Path:
    """Write the order of some tasks of a stage of the small plan."""
    profile = profile or Profile()
    links = chain([group(small_plan(folder), profile)])
    (link,) = [link for link in links if len(link.jobs) >= len(parts) and link.step.label == stage][
        :1
    ]
    order = folder / "orders" / "order.json"
    order.parent.mkdir(exist_ok=True)
    write_order(order, link, parts)
    return order


def test_an_order_holds_strings_and_numbers_only(tmp_path: Path) -> None:
    profile = Profile(requeue="chain", max_requeues=7)
    order = json.loads(order_for(tmp_path, "score", [2, 0], profile).read_text())
    assert (order["requeue"], order["max_requeues"]) == ("chain", 7)
    shards = shard_jobs(small_plan(tmp_path)[1].job)
    assert [Job(**job) for job in order["jobs"]] == [shards[2], shards[0]]
    assert order["merges"] is False


def test_an_array_task_does_the_part_with_its_number_unless_it_is_done(tmp_path: Path) -> None:
    steps = small_plan(tmp_path)
    finish(steps[0].job)
    # Parts 2 and 0 are tasks 0 and 1; part 2 is done, and something lies in the way of part 0.
    finish_shards(steps[1], [2])
    done = read_manifest(Path(shard_jobs(steps[1].job)[2].out))
    in_the_way = Path(shard_jobs(steps[1].job)[0].out) / "notes.txt"
    in_the_way.parent.mkdir()
    in_the_way.touch()
    order = order_for(tmp_path, "score", [2, 0])
    array = {"SLURM_ARRAY_JOB_ID": "5"}
    assert run(order, **array, SLURM_ARRAY_TASK_ID="0") == 0
    assert read_manifest(Path(shard_jobs(steps[1].job)[2].out)) == done
    assert run(order, **array, SLURM_ARRAY_TASK_ID="1") == ConfigError.exit_code
    report = worker.read_error(handover_folder(order.parent, "5_1"))
    assert report is not None
    assert report["message"].startswith(f"{in_the_way.parent}: this folder has other files in it")
    assert worker.read_error(handover_folder(order.parent, "5_0")) is None


def test_work_that_is_no_longer_what_was_planned_is_refused(tmp_path: Path) -> None:
    order = order_for(tmp_path, "curate", [0])
    (tmp_path / "data.jsonl").write_text('{"changed": true}\n')
    assert run(order) == ConfigError.exit_code
    report = worker.read_error(handover_folder(order.parent, "1"))
    assert report is not None
    assert "an input (data-0000) has changed since this was planned" in report["message"]
    (tmp_path / "data.jsonl").write_text("{}\n")
    assert run(order) != ConfigError.exit_code, "the record is not one, which curation finds"


def test_a_failure_leaves_its_report_and_its_exit_code(tmp_path: Path) -> None:
    # The input is not there.
    order = order_for(tmp_path, "score", [0])
    assert run(order) == ConfigError.exit_code
    report = worker.read_error(handover_folder(order.parent, "1"))
    assert report is not None
    assert report["exit_code"] == ConfigError.exit_code
    assert report["message"].endswith(": no such file or folder; check the path")


def test_a_thread_that_finds_a_hang_reports_it_and_requeues_the_job(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = small_plan(tmp_path)
    as_sent(slurm, steps, tmp_path / "run")
    slurm.move("1", "RUNNING")
    hang = (
        "import sys, threading, time; from wmss_cli.core.process_end import end_process; "
        "from wmss_cli.core.errors import HangError; from wmss_cli.slurm import task; "
        "found = lambda: end_process(HangError('rank 1 has not answered', (1,)), 'here'); "
        "task._work = lambda *_: [threading.Thread(target=found).start(), time.sleep(50), "
        "sys.exit('nobody ended the process')]; "
    )
    monkeypatch.setattr(f"{__name__}.RUN", hang + RUN)
    order = order_for(tmp_path, "curate", [0])
    # The main thread sleeps, and does not hear of it.
    assert run(order, SLURM_NTASKS="2") == 0
    assert slurm.states("1") == ["PENDING"]
    report = worker.read_error(handover_folder(order.parent, "1"))
    assert report is not None
    assert (report["exit_code"], report["message"]) == (5, "rank 1 has not answered")


def test_a_signal_ends_for_good_what_would_start_over(tmp_path: Path, slurm: FakeSlurm) -> None:
    steps = small_plan(tmp_path)
    as_sent(slurm, steps, tmp_path / "run")
    slurm.move("1", "RUNNING")
    order = order_for(tmp_path, "curate", [0])
    out = Path(steps[0].job.out)
    # It waits here, as for an attempt before that takes its time to die.
    with FileLock(out.with_name(f".{out.name}.lock")):
        process = started(order)
        while not catches(process.pid, signal.SIGUSR2):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR2)
        _, said = process.communicate(timeout=60)
    assert process.returncode == InterruptedRunError.exit_code, said
    assert "stopped; it did not fit its time limit, and would start again" in said
    assert slurm.states("1") == ["RUNNING"]
    report = worker.read_error(handover_folder(order.parent, "1"))
    assert report is not None
    assert report["exit_code"] == InterruptedRunError.exit_code
    assert report["message"].startswith("stopped by SIGUSR2")


def catches(pid: int, number: int) -> bool:
    """Say whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


@pytest.fixture
def rank_11(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Be the fourth process of the second of two nodes."""
    slurm = {
        **{"SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "16"},
        **{"SLURM_JOB_NUM_NODES": "2", "SLURM_NODEID": "1", "SLURM_PROCID": "11"},
        **{"SLURM_LOCALID": "3", "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.9"},
    }
    # Left over from elsewhere; here so that they are gone after the test.
    for name, value in (LEFT | slurm).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    return monkeypatch


def test_ranks_know_each_other_by_slurms_numbers(rank_11: pytest.MonkeyPatch) -> None:
    rank_11.setenv("SLURM_JOB_NODELIST", "localhost,other")
    task._describe_ranks()
    found = {name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    assert found == {"RANK": "11", "LOCAL_RANK": "3", "WORLD_SIZE": "16"}
    assert os.environ["MASTER_ADDR"] == "localhost"
    assert int(os.environ["MASTER_PORT"]) in PORTS, "which no outgoing connection takes"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5", "as Slurm set it"
    own = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    assert LEFT.keys() & os.environ.keys() <= own


def test_the_first_node_is_found_where_its_name_means_nothing(rank_11: pytest.MonkeyPatch) -> None:
    rank_11.setenv("SLURM_JOB_NODELIST", "no such node,other")
    task._describe_ranks()
    assert os.environ["MASTER_ADDR"] == "127.0.0.9"
