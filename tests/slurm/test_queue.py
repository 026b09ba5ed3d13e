"""What squeue and sacct print, read: ranges of arrays, attempts, times, memory; and how often."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest
from slurm.fake_slurm import COMMANDS, FakeSlurm
from slurm.plans import as_sent, group, small_plan

from wmss_cli.core.errors import SlurmError
from wmss_cli.slurm import commands as commands
from wmss_cli.slurm.chain import chain
from wmss_cli.slurm.ledger import Ledger, RunPlan
from wmss_cli.slurm.queue import (
    Record,
    accounts,
    ask_queue,
    by_name,
    expand,
    gib,
    read_accounts,
    read_queue,
    seconds,
)
from wmss_cli.slurm.status import run_status
from wmss_cli.stages.plan import Step

# As Slurm 22.05.8 printed it.
QUEUE = """\
3|CANCELLED|Dependency|0:00|1:00:00|2026-11-24T16:37:37|dep|
4|CANCELLED|DependencyNeverSatisfied|0:00|1:00:00|2026-11-24T16:37:37|dep2|
1_[0,3,5-9%2]|PENDING|JobArrayTaskLimit|0:00|1:00:00|N/A|arr|
2|PENDING|BeginTime|0:00|1:00:00|2026-11-24T16:39:38|bad|
1_2|RUNNING|None|0:03|59:57|2026-11-24T16:37:37|arr|n1
5|RUNNING|None|1-02:03:04|UNLIMITED|2026-11-24T16:37:35|unk|n[1-2]
"""
ACCOUNTS = """\
2|REQUEUED|3:0|2|00:00.002|2||8000M|billing=1,cpu=1,gres/gpu:h800=2,gres/gpu=2,node=1|\
2026-11-24T16:37:37|None
2.batch|FAILED|3:0|2|00:00.002|2|2048K||cpu=1,mem=0,node=1|2026-11-24T16:37:35|
2.0|FAILED|3:0|2|00:00.002|2|1G||cpu=1,mem=0,node=1|2026-11-24T16:37:35|
3|CANCELLED by 0|0:0|0|00:00:00|0||8000M||2026-11-24T16:37:37|Dependency
4|CANCELLED|0:0|0|00:00:00|0||8000M||2026-11-24T16:37:37|Dependency
1_0|REQUEUED|0:0|2|00:00.002|2||8000M|billing=1,cpu=1,node=1|2026-11-24T16:37:37|None
1_2|FAILED|0:9|4|00:03.000|8||8000M|billing=2,cpu=2,mem=16G,node=2|2026-11-24T16:37:41|None
1_2.batch|CANCELLED|0:15|4|00:00.003|4|3120K||cpu=1,mem=0,node=1|2026-11-24T16:37:41|
1_[2-3,5-9%2]|CANCELLED by 0|0:0|0|00:00:00|0||8000M||2026-11-24T16:37:41|JobArrayTaskLimit
2|COMPLETED|0:0|10|01:01:01|10||8000M|billing=1,cpu=1,gres/gpu:h800=2,gres/gpu=2,mem=4G,node=1|\
2026-11-24T16:38:41|None
2.batch|COMPLETED|0:0|10|01:01:01|10|512M||cpu=1,mem=0,node=1|2026-11-24T16:37:35|
"""


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("7", ["7"]),
        ("7_3", ["7_3"]),
        ("7_[3]", ["7_3"]),
        ("7_[2-4]", ["7_2", "7_3", "7_4"]),
        ("7_[2-4,9%2]", ["7_2", "7_3", "7_4", "7_9"]),
        ("7_[0-8:4]", ["7_0", "7_4", "7_8"]),
        ("7_[1,0-8:4%1]", ["7_1", "7_0", "7_4", "7_8"]),
    ],
)
def test_ids_of_array_tasks(text: str, ids: list[str]) -> None:
    assert list(expand(text)) == ids


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0:07", 7), ("59:57", 3597), ("1:00:00", 3600), ("00:00.002", 0), ("01:01.900", 61)],
        *[("1-02:03:04", 93784), ("10-00:00:00", 864000), ("UNLIMITED", None), ("INVALID", None)],
        *[("NOT_SET", None), ("", None)],
    ],
)
def test_times(text: str, value: int | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("", 0.0), ("0", 0.0), ("1048576K", 1.0), ("512M", 0.5), ("2G", 2.0), ("1.5T", 1536.0)],
        *[("4Gn", 4.0), ("2Gc", 2.0), ("1073741824", 1.0), ("?", 0.0)],
    ],
)
def test_memory(text: str, value: float) -> None:
    assert gib(text) == value


def test_each_line_of_the_queue_is_a_record_for_each_task() -> None:
    found = {record.job_id: record for record in read_queue(QUEUE)}
    tasks = [f"1_{index}" for index in (0, 3, 5, 6, 7, 8, 9)]
    assert list(found) == ["3", "4", *tasks, "2", "1_2", "5"]
    assert found["1_7"].reason == "JobArrayTaskLimit"
    assert found["1_7"].start is None
    assert found["2"].start == datetime(2026, 11, 24, 16, 39, 38)
    assert found["5"] == Record(
        **{"job_id": "5", "state": "RUNNING", "name": "unk", "nodes": "n[1-2]"},
        **{"elapsed_s": 93784, "left_s": None, "start": datetime(2026, 11, 24, 16, 37, 35)},
    )
    assert [i for i, record in found.items() if not record.is_active] == ["3", "4"]


def test_what_can_never_start_is_not_active() -> None:
    line = "4|PENDING|DependencyNeverSatisfied|0:00|1:00:00|N/A|dep|\n"
    (record,) = read_queue(line)
    assert not record.is_active
    assert by_name([record]) == {}


def test_all_attempts_of_a_job_count_and_the_last_says_how_it_ended() -> None:
    job = read_accounts(ACCOUNTS)["2"]
    assert (job.state, job.exit_code) == ("COMPLETED", "0:0")
    assert (job.elapsed_s, job.gpu_s, job.cpu_s, job.cpu_allocated_s) == (12, 24, 3661, 12)
    assert (job.memory_gib, job.memory_asked_gib) == (1, 4)


def test_the_rest_of_an_array_says_nothing_of_tasks_that_ran() -> None:
    found = read_accounts(ACCOUNTS)
    # The line of the rest still names 2, which has a line of its own.
    assert (found["1_2"].state, found["1_2"].exit_code) == ("FAILED", "0:9")
    assert (found["1_2"].elapsed_s, found["1_2"].cpu_allocated_s) == (4, 8)
    assert found["1_2"].memory_asked_gib == 8, "on one of two nodes"
    assert [found[f"1_{i}"].state for i in (3, 5, 9)] == ["CANCELLED"] * 3
    assert found["1_0"].state == "REQUEUED"


def test_who_cancelled_is_not_part_of_the_state() -> None:
    assert read_accounts(ACCOUNTS)["3"].state == "CANCELLED"


def test_one_call_tells_of_all_jobs(slurm: FakeSlurm, tmp_path: Path) -> None:
    as_sent(slurm, small_plan(tmp_path, shards=200), tmp_path / "run")
    for index in range(0, 200, 2):
        slurm.move(f"2_{index}", "RUNNING", start="2026-11-24T16:37:35")
    before = len(slurm.calls("squeue"))
    queue = ask_queue()
    assert len(slurm.calls("squeue")) == before + 1
    # Slurm itself would cut so long a list of indices short.
    assert {f"2_{index}" for index in range(200)} <= queue.keys()
    assert [queue[i].state for i in ("2_0", "2_1", "1")] == ["RUNNING", "PENDING", "PENDING"]


def test_the_accounts_are_asked_for_whole_jobs(slurm: FakeSlurm, tmp_path: Path) -> None:
    assert accounts([], 0) == {}
    assert slurm.calls("sacct") == []
    as_sent(slurm, small_plan(tmp_path), tmp_path / "run")
    slurm.move("2", "FAILED", exit="1:0", elapsed_s=60)
    found = accounts(["2_0", "2_1", "2_2", "1"], since=1e9)
    (arguments,) = slurm.calls("sacct")
    assert "--jobs=1,2" in arguments
    # Ids are used again after years, and clocks differ.
    since = datetime.fromtimestamp(1e9 - 3600).isoformat()
    assert f"--starttime={since}" in arguments
    assert found is not None
    assert {found[f"2_{index}"].state for index in range(3)} == {"FAILED"}


def test_without_accounts_there_are_none(slurm: FakeSlurm) -> None:
    slurm.configure(AccountingStorageType="accounting_storage/none")
    assert accounts(["7"], 1e9) is None
    assert not commands.cluster_config().accounting


def test_the_limits_of_the_cluster(slurm: FakeSlurm) -> None:
    slurm.configure(MaxArraySize="4")
    found = commands.cluster_config()
    assert (found.name, found.version, found.max_array_size) == ("fake", "22.05.8", 4)
    assert found.accounting


def test_a_command_that_fails_says_why_in_one_line(slurm: FakeSlurm) -> None:
    problem = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    slurm.answer("squeue", stderr=f"squeue: error: first\n{problem}\n{problem}\n", code=1)
    with pytest.raises(SlurmError) as caught:
        ask_queue()
    assert str(caught.value) == f"squeue: first; {problem}"
    slurm.answer("squeue", code=1)
    with pytest.raises(SlurmError, match="squeue: failed without a message"):
        ask_queue()


def test_a_machine_without_slurm_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="squeue: not found; is this a login node"):
        ask_queue()


def write_as_sent(steps: list[Step], run_dir: Path, count: int) -> tuple[str, str]:
    """Write the ledger of a plan whose jobs are 1, 2 (the array) and 3; return the last two."""
    ledger = Ledger(run_dir)
    sent = group(steps, max_array_size=count)
    _, array, merge, _ = chain([sent])
    with ledger.alone():
        ledger.write_plan(RunPlan(groups=[sent], accounting=True, config=None))
        ledger.append("sent", array.name, "2", list(range(count)))
        ledger.append("sent", merge.name, "3", [0])
    return array.name, merge.name


def test_ten_thousand_tasks_cost_two_calls_and_little_time(
    slurm: FakeSlurm, tmp_path: Path
) -> None:
    count = 10_000
    steps, run = small_plan(tmp_path, shards=count), tmp_path / "run"
    array, merge = write_as_sent(steps, run, count)
    when = "2026-11-24T16:37:35"
    lines = [f"2_{i}|RUNNING|None|0:03|59:57|{when}|{array}|n1" for i in range(3000)]
    lines += [f"2_{i}|FAILED|None|0:03|59:57|{when}|{array}|n1" for i in range(3000, 6000)]
    lines += [f"2_[6000-{count - 1}%5000]|PENDING|Resources|0:00|1:00:00|N/A|{array}|"]
    lines += [f"3|PENDING|Dependency|0:00|1:00:00|N/A|{merge}|"]
    slurm.answer("squeue", "".join(line + "\n" for line in lines))
    tres = "billing=1,cpu=1,gres/gpu=1,mem=4G,node=1"
    rows = [
        f"2_{i}|FAILED|1:0|60|00:30|60||4G|{tres}|{when}|None\n"
        f"2_{i}.batch|FAILED|1:0|60|00:30|60|2G||cpu=1,node=1|{when}|\n"
        for i in range(3000, 6000)
    ]
    slurm.answer("sacct", "".join(rows))
    started = time.process_time()
    status = run_status(Ledger(tmp_path / "run"))
    spent = time.process_time() - started
    assert [len(slurm.calls(command)) for command in COMMANDS] == [0, 1, 1, 0, 0, 0, 0]
    (score,) = [stage for stage in status.stages if stage.label == "score"]
    tasks = score.tasks
    assert (tasks.running, tasks.waiting, tasks.failed, tasks.total) == (3000, 4001, 3000, 10_001)
    assert score.gpu_hours == 50
    # It takes well below a second on an idle machine.
    assert spent < 5
    # A second look asks nothing again about what has ended.
    run_status(Ledger(tmp_path / "run"))
    assert [len(slurm.calls(command)) for command in COMMANDS] == [0, 2, 1, 0, 0, 0, 0]
