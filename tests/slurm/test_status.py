"""How a run stands: manifests first, then Slurm, then what the stages themselves report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from manifests import edit_manifest
from slurm.fake_slurm import FakeSlurm
from slurm.plans import as_sent, finish, finish_shards, send_plan, small_plan, training_plan

from wmss_cli.core.artifact import Job, open_draft, partial, redo
from wmss_cli.core.progress import PROGRESS, Progress
from wmss_cli.slurm.explain import waiting
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.queue import NEVER
from wmss_cli.slurm.runs import remember
from wmss_cli.slurm.status import Counts, RunStatus, StageStatus, run_status
from wmss_cli.slurm.task import handover_folder
from wmss_cli.stages.plan import Step
from wmss_cli.stages.shards import shard_jobs

Look = Callable[[], dict[str, StageStatus]]
GPU = Resources(gpus_per_node=1, mem_gb=4)
USED = "  # it used 2.0 GiB, of 4.0 on a node"


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return small_plan(tmp_path)


@pytest.fixture
def sent(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> FakeSlurm:
    """The plan, just sent: jobs 1 (curate), 2 (shards), 3 (merge), 4 (curriculum)."""
    as_sent(slurm, steps, tmp_path / "run", Profile(score=GPU))
    remember(tmp_path / "run", None)
    return slurm


@pytest.fixture
def look(tmp_path: Path) -> Look:
    return lambda: {stage.label: stage for stage in whole(tmp_path).stages}


def whole(folder: Path) -> RunStatus:
    return run_status(Ledger(folder / "run"))


def states(found: dict[str, StageStatus]) -> dict[str, str]:
    return {label: stage.state for label, stage in found.items()}


def beat(job: Job, updated: float, done: int = 30, speed: float = 0.0) -> None:
    """Leave a heartbeat, as the stage does while it works."""
    folder = partial(Path(job.out))
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {"tokens_per_s": speed} if speed else {}
    progress = Progress(
        **{"unit": "samples", "done": done, "total": 90, "resumed_at": 0, "metrics": metrics},
        **{"started": updated - 60, "updated": updated},
    )
    (folder / PROGRESS).write_text(progress.model_dump_json())


def slurm_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="seconds")


def log_of(folder: Path, slurm: FakeSlurm, stage: str, task: str = "") -> Path:
    job = slurm.last(stage)
    return folder / "run" / "slurm" / job["name"] / f"{job['id']}{task}_0_log.out"


# What is done.


def test_what_is_older_than_its_input_is_not_done(
    tmp_path: Path, slurm: FakeSlurm, look: Look
) -> None:
    steps = training_plan(tmp_path)
    for step in steps:
        finish(step.job)
    as_sent(slurm, steps, tmp_path / "run")
    for job_id in "123":
        slurm.move(job_id, "COMPLETED")
    assert set(states(look()).values()) == {"done"}
    # Someone needs the space; nothing is made again.
    shutil.rmtree(steps[1].job.out)
    assert states(look()) == {"curate": "done", "sft": "failed", "report": "done"}
    # The same command sends it again, and what needs it.
    send_plan(steps, tmp_path)
    assert states(look()) == {"curate": "done", "sft": "waiting", "report": "waiting"}
    with open_draft(steps[1].job) as draft:
        (draft.folder / "result.txt").write_text("a GPU does not give the same bits twice")
        draft.commit({})
    slurm.move("4", "COMPLETED")
    slurm.move("5", "RUNNING")
    assert states(look()) == {"curate": "done", "sft": "done", "report": "running"}
    slurm.move("5", "COMPLETED")
    finish(steps[2].job)
    assert whole(tmp_path).state == "done"
    # What is made from something old is old as well.
    with open_draft(steps[0].job) as draft:
        (draft.folder / "result.txt").write_text("other records")
        draft.commit({})
    assert states(look()) == {"curate": "done", "sft": "not sent", "report": "not sent"}
    assert look()["report"].words == "to be made again: its inputs have changed"
    assert whole(tmp_path).state == "not sent"
    # That making it again failed is not hidden by what was there before.
    send_plan(steps, tmp_path)
    slurm.move(slurm.last("sft")["id"], "FAILED", exit="1:0")
    found = look()
    assert found["sft"].failure is not None
    assert found["sft"].failure.why == "failed with exit code 1"
    assert found["report"].words == "cannot start: an earlier stage failed"


# What waits and runs.


def test_gpu_hours_hold_what_a_requeued_job_used_before(
    tmp_path: Path, sent: FakeSlurm, look: Look, steps: list[Step]
) -> None:
    finish(steps[0].job)
    sent.move("1", "COMPLETED")
    name = sent.last("score.0-2")["name"]
    tres = "billing=1,cpu=1,gres/gpu=1,mem=4G,node=1"
    first = f"2_0|REQUEUED|0:0|3600|00:30|3600||4G|{tres}|2026-11-24T17:00:00|None\n"
    now = f"2_0|RUNNING|0:0|60|00:30|60||4G|{tres}|Unknown|None\n"
    log_of(tmp_path, sent, "score.0-2", "_0").touch()
    line = "2_0|{}|None|{}|59:57|2026-11-24T{}|" + name + "|n1\n"
    for state, elapsed, start, rows, hours in (
        ("RUNNING", "1:00:00", "16:00:00", f"2_0|RUNNING|0:0|9|0|9||4G|{tres}|Unknown|\n", 1.0),
        ("PENDING", "0:00", "17:02:00", first, 1.0),
        ("RUNNING", "30:00", "17:02:00", first + now, 1.5),
        ("RUNNING", "45:00", "17:02:00", first + now, 1.75),
    ):
        sent.answer("squeue", line.format(state, elapsed, start))
        sent.answer("sacct", rows)
        before = len(sent.calls("sacct"))
        assert look()["score"].gpu_hours == hours
        # What ended (curate, the rest of the array) and the new attempt, in one call.
        assert len(sent.calls("sacct")) - before <= 1


def test_a_report_that_a_full_disk_cut_short_hides_nothing(
    tmp_path: Path, sent: FakeSlurm, look: Look
) -> None:
    sent.move("1", "FAILED", exit="1:0", elapsed_s=60)
    handover = handover_folder(tmp_path / "run" / "slurm" / sent.last("curate")["name"], "1")
    handover.mkdir(parents=True)
    for text in ("", '{"message": "the di', "[]", "{}", "\x00"):
        (handover / "error-00000.json").write_text(text)
        failure = look()["curate"].failure
        assert failure is not None
        assert failure.why == "failed with exit code 1"


def test_just_after_it_was_sent(tmp_path: Path, sent: FakeSlurm, look: Look) -> None:
    found = look()
    assert set(states(found).values()) == {"waiting"}
    assert found["curate"].words == "waits: others come first"
    assert found["curriculum"].words == "waits for its input"
    assert [found[label].jobs for label in found] == [["1"], ["2", "3"], ["4"]]
    assert found["score"].tasks == Counts(waiting=4, total=4)
    assert sent.calls("sacct") == [], "nothing has ended"
    run = whole(tmp_path)
    assert (run.state, run.is_over, run.notes, run.gpu_hours) == ("waiting", False, [], None)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Resources", "waits for free nodes"),
        ("QOSMaxGRESPerUser", "waits for a limit of your account or QOS (QOSMaxGRESPerUser)"),
        ("BeginTime", "requeued, waits about two minutes"),
    ],
)
def test_why_it_waits_and_for_how_long(
    sent: FakeSlurm, look: Look, reason: str, words: str
) -> None:
    sent.move("1", "PENDING", reason=reason, start="2026-11-24T19:37:33")
    curate = look()["curate"]
    assert (curate.state, curate.words) == ("waiting", words)
    assert curate.expected_start == datetime(2026, 11, 24, 19, 37, 33)


def test_a_running_stage_shows_its_own_heartbeat(
    tmp_path: Path, sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    now = time.time()
    start = slurm_time(now - 100)
    sent.move("1", "RUNNING", start=start, elapsed="1:40", left="58:20", nodes="n1")
    beat(steps[0].job, now - 5)
    curate = look()["curate"]
    assert (curate.state, curate.words) == ("running", "running")
    assert curate.progress is not None
    assert (curate.progress.done, curate.progress.total) == (30, 90)
    assert (curate.elapsed_s, curate.limit_left_s, curate.left_s) == (100, 3500, 120)
    assert curate.silent_s == pytest.approx(5, abs=3)
    assert whole(tmp_path).state == "running"


def test_the_heartbeat_of_an_attempt_before_tells_nothing(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    now = time.time()
    beat(steps[0].job, now - 1000)
    sent.move("1", "RUNNING", start=slurm_time(now - 100))
    assert look()["curate"].progress is None
    assert look()["curate"].words == "running"


def test_a_stage_that_is_silent_for_long_is_said_to_be(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    now = time.time()
    beat(steps[0].job, now - 1200)
    sent.move("1", "RUNNING", start=slurm_time(now - 5000))
    assert look()["curate"].words == "running, but no sign of life for 20 min"


def test_the_heartbeats_of_an_array_add_up(sent: FakeSlurm, steps: list[Step], look: Look) -> None:
    now = time.time()
    sent.move("1", "COMPLETED")
    for index in (0, 1):
        sent.move(f"2_{index}", "RUNNING", start=slurm_time(now - 100), elapsed=f"{index}:10")
        beat(shard_jobs(steps[1].job)[index], now - 5, done=30 + index, speed=100)
    score = look()["score"]
    assert score.progress is not None
    assert (score.progress.done, score.progress.total) == (61, 180)
    assert score.progress.metrics == {"tokens_per_s": 200}
    assert score.elapsed_s == 70, "the longest"
    tasks = score.tasks
    assert (score.state, tasks.running, tasks.waiting, tasks.total) == ("running", 2, 2, 4)


def test_gpu_hours_of_what_runs_count_before_slurm_counts_them(
    tmp_path: Path, sent: FakeSlurm
) -> None:
    for index in range(3):
        sent.move(f"2_{index}", "RUNNING", elapsed="2:00:00")
    assert whole(tmp_path).gpu_hours == 6


# What is done.


def test_what_has_its_manifest_is_done_whatever_slurm_says(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    finish(steps[0].job)
    for state in ("FAILED", "TIMEOUT", "CANCELLED", "RUNNING"):
        sent.move("1", state)
        curate = look()["curate"]
        assert (curate.state, curate.failure, curate.tasks.done) == ("done", None, 1)


def test_what_is_being_made_again_is_not_done(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    for step in steps[:2]:
        finish(step.job)
    finish_shards(steps[1], [0, 2])
    redo({Path(step.job.out): step.fingerprint for step in steps})
    sent.move("1", "RUNNING")
    assert look()["curate"].state == "running"
    finish(steps[0].job)
    assert look()["curate"].state == "done"
    finish_shards(steps[1], [2])
    assert look()["score"].tasks.done == 1


def test_what_was_made_by_other_options_is_not_done(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    finish(steps[0].job)
    edit_manifest(Path(steps[0].job.out), lambda made: made.update(fingerprint="0" * 64))
    sent.move("1", "COMPLETED")
    assert look()["curate"].state == "failed"
    assert look()["curate"].words == "ended without a result"


def test_shards_that_are_done_are_counted(sent: FakeSlurm, steps: list[Step], look: Look) -> None:
    finish(steps[0].job)
    finish_shards(steps[1], [0, 2])
    sent.move("2", "COMPLETED")
    sent.move("2_1", "RUNNING")
    tasks = look()["score"].tasks
    assert (tasks.done, tasks.running, tasks.waiting, tasks.total) == (2, 1, 1, 4)


def test_a_run_that_is_done_is_over(tmp_path: Path, sent: FakeSlurm, steps: list[Step]) -> None:
    for number, step in enumerate(steps):
        finish(step.job)
        sent.move(str(number + 1), "COMPLETED", elapsed_s=10)
    sent.move("4", "COMPLETED")
    run = whole(tmp_path)
    assert (run.state, run.is_over) == ("done", True)


# What failed.


def fail(slurm: FakeSlurm, job_id: str, state: str, code: str = "0:0") -> None:
    slurm.move(job_id, state, exit=code, elapsed_s=3600, cpu="00:30:00", rss="2G")


@pytest.mark.parametrize(
    ("state", "code", "words", "fix"),
    [
        ("TIMEOUT", "0:0", "reached its time limit", " --slurm score.time_limit_min=120"),
        ("OUT_OF_MEMORY", "0:125", "out of memory", f" --slurm score.mem_gb=8{USED}"),
        ("FAILED", "0:9", "killed by SIGKILL (signal 9)", f" --slurm score.mem_gb=8{USED}"),
        ("FAILED", "9:0", "killed by SIGKILL (signal 9)", f" --slurm score.mem_gb=8{USED}"),
        ("FAILED", "139:0", "killed by SIGSEGV (signal 11)", ""),
        ("NODE_FAIL", "0:0", "its node failed", ""),
    ],
)
def test_why_it_failed_and_what_fixes_it(
    sent: FakeSlurm, look: Look, state: str, code: str, words: str, fix: str
) -> None:
    fail(sent, "2", state, code)
    score = look()["score"]
    assert (score.state, score.words) == ("failed", words)
    assert score.failure is not None
    assert (score.failure.job_id, score.failure.why) == ("2_0", words)
    assert score.failure.fix == f"wmss retry run{fix}"


def test_a_failure_shows_the_end_of_its_log_and_its_own_report(
    tmp_path: Path, sent: FakeSlurm, look: Look
) -> None:
    log = log_of(tmp_path, sent, "curate")
    log.write_text("".join(f"line {i}\n" for i in range(10_000)) + "\n\nthe last \n\n")
    handover = handover_folder(log.parent, "1")
    handover.mkdir(parents=True)
    report = {"message": "none of 3 records kept", "exit_code": 3, "traceback": ""}
    (handover / "error-00000.json").write_text(json.dumps(report))
    fail(sent, "1", "FAILED", "3:0")
    failure = look()["curate"].failure
    assert failure is not None
    assert failure.why == "failed with exit code 3: none of 3 records kept"
    assert failure.log == str(log)
    assert failure.tail == [*(f"line {i}" for i in range(9996, 10_000)), "the last"]
    assert failure.fix == "fix what the message says, then: wmss retry run"


def test_a_failed_shard_is_shown_while_others_run(
    sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    finish(steps[0].job)
    finish_shards(steps[1], [0])
    sent.move("2_0", "COMPLETED")
    fail(sent, "2_1", "FAILED", "1:0")
    sent.move("2_2", "RUNNING")
    score = look()["score"]
    assert (score.state, score.tasks.failed, score.tasks.running) == ("running", 1, 1)
    assert score.failure is not None
    assert score.failure.job_id == "2_1"
    # Now that all have ended, Slurm has ended the merge too, which explains nothing.
    fail(sent, "2_2", "COMPLETED")
    finish_shards(steps[1], [2])
    score = look()["score"]
    assert (score.state, score.words) == ("failed", "failed with exit code 1")
    assert score.failure is not None
    assert score.failure.job_id == "2_1"


def test_what_never_starts_is_not_waited_for(tmp_path: Path, sent: FakeSlurm, look: Look) -> None:
    fail(sent, "1", "FAILED", "1:0")
    for label in ("score", "curriculum"):
        stage = look()[label]
        assert (stage.state, stage.words) == ("cancelled", waiting(NEVER))
    run = whole(tmp_path)
    assert (run.state, run.is_over) == ("failed", True)
    # For a moment, or where kill-on-invalid-dep does nothing, it is still in the queue.
    for job_id in ("2", "3", "4"):
        sent.move(job_id, "PENDING", reason="DependencyNeverSatisfied")
    assert whole(tmp_path).is_over
    assert states(look()) == {"curate": "failed", "score": "cancelled", "curriculum": "cancelled"}


def test_what_its_user_cancelled_is_said_to_be(tmp_path: Path, sent: FakeSlurm, look: Look) -> None:
    for job_id in ("4", "3", "2", "1"):
        # Slurm keeps the reason for which it waited.
        sent.move(job_id, "CANCELLED", reason="Priority" if job_id == "1" else "Dependency")
    assert {stage.words for stage in look().values()} == {"cancelled"}
    run = whole(tmp_path)
    assert (run.state, run.is_over) == ("cancelled", True)


def test_a_retry_counts_and_not_what_was_before(
    tmp_path: Path, sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    fail(sent, "1", "FAILED", "1:0")
    send_plan(steps, tmp_path, Profile(score=GPU))
    found = look()
    assert set(states(found).values()) == {"waiting"}
    assert found["curate"].jobs == ["5"]
    assert found["curate"].failure is None


def test_an_array_of_one_is_a_plain_job(
    tmp_path: Path, sent: FakeSlurm, steps: list[Step], look: Look
) -> None:
    finish(steps[0].job)
    sent.move("1", "COMPLETED")
    finish_shards(steps[1], [0, 2])
    fail(sent, "2", "FAILED", "1:0")
    send_plan(steps, tmp_path, Profile(score=GPU))
    again = sent.last("score.0-2")["id"]
    sent.move(again, "RUNNING")
    score = look()["score"]
    assert (score.state, score.tasks.running) == ("running", 1)
    assert again in score.jobs
    fail(sent, again, "TIMEOUT")
    failure = look()["score"].failure
    assert failure is not None
    assert (failure.job_id, Path(failure.log).name) == (again, f"{again}_0_log.out")


def test_successors_count_as_one_task(tmp_path: Path, slurm: FakeSlurm, look: Look) -> None:
    steps = training_plan(tmp_path)
    send_plan(steps, tmp_path, Profile(requeue="chain", chained_jobs=2))
    assert look()["sft"].tasks.total == 1
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2", "FAILED")
    slurm.move("3", "RUNNING")
    sft = look()["sft"]
    assert (sft.state, sft.jobs, sft.failure) == ("running", ["3"], None)
    slurm.move("3", "FAILED")
    assert look()["sft"].state == "waiting", "the last of them continues"
    slurm.move("4", "TIMEOUT")
    sft = look()["sft"]
    assert (sft.state, sft.words, sft.jobs) == ("failed", "reached its time limit", ["4"])


# What Slurm does not say.


def test_where_the_queue_does_not_answer_nothing_is_over(
    tmp_path: Path, sent: FakeSlurm, steps: list[Step]
) -> None:
    finish(steps[0].job)
    sent.move("1", "COMPLETED")
    sent.move("2", "RUNNING")
    for accounting in (True, False):
        if not accounting:
            sent.answer("sacct", stderr="sacct: error: no connection", code=1)
        sent.answer("squeue", stderr="slurm_load_jobs error: Unable to contact controller", code=1)
        run = whole(tmp_path)
        assert not run.is_over
        assert run.notes[0] == (
            "the queue is not known: squeue: slurm_load_jobs error: Unable to contact controller"
        )
        found = {stage.label: (stage.state, stage.words) for stage in run.stages}
        unknown = ("waiting", "sent; its state is unknown")
        assert found == {"curate": ("done", "done"), "score": unknown, "curriculum": unknown}
        assert all(stage.failure is None for stage in run.stages)
        sent.answer_again("squeue")
    assert not whole(tmp_path).notes[1:]


def test_what_the_accounts_say_counts_where_the_queue_does_not_answer(
    sent: FakeSlurm, look: Look
) -> None:
    fail(sent, "1", "FAILED", "1:0")
    sent.answer("squeue", stderr="slurm_load_jobs error: Unable to contact controller", code=1)
    curate = look()["curate"]
    assert (curate.state, curate.words) == ("failed", "failed with exit code 1")


def test_what_squeue_has_forgotten_sacct_knows(sent: FakeSlurm, look: Look) -> None:
    fail(sent, "1", "TIMEOUT")
    sent.move("1", "TIMEOUT", forgotten=True)
    assert look()["curate"].words == "reached its time limit"


def test_the_accounts_are_asked_once_for_what_has_ended(
    tmp_path: Path, sent: FakeSlurm, look: Look
) -> None:
    fail(sent, "2_0", "FAILED", "1:0")
    assert look()["score"].gpu_hours == 1
    assert len(sent.calls("sacct")) == 1
    for _ in range(3):
        score = look()["score"]
    assert len(sent.calls("sacct")) == 1
    assert (score.gpu_hours, score.cpu_efficiency, score.memory_efficiency) == (1, 0.5, 0.5)
    fail(sent, "2_1", "FAILED", "1:0")
    assert look()["score"].gpu_hours == 2
    assert len(sent.calls("sacct")) == 2
    # What it keeps may be lost, then it is asked again.
    (tmp_path / "run" / "slurm" / "usage.json").write_text("{")
    assert look()["score"].gpu_hours == 2
    assert len(sent.calls("sacct")) == 3


def test_a_full_disk_hides_nothing(small_disk: Callable[[str], Path], slurm: FakeSlurm) -> None:
    disk = small_disk("512k")
    as_sent(slurm, small_plan(disk), disk / "run")
    fail(slurm, "1", "FAILED", "1:0")
    with suppress(OSError), (disk / "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(b"x" * 512)
    (stage, *_) = whole(disk).stages
    assert stage.words == "failed with exit code 1"


def test_without_accounts_the_queue_must_do(tmp_path: Path, slurm: FakeSlurm, look: Look) -> None:
    slurm.configure(AccountingStorageType="accounting_storage/none")
    send_plan(small_plan(tmp_path), tmp_path)
    slurm.move("1", "OUT_OF_MEMORY")
    assert whole(tmp_path).notes == ["this cluster keeps no accounts: no GPU-hours, no efficiency"]
    assert look()["curate"].words == "out of memory"
    slurm.move("1", "OUT_OF_MEMORY", forgotten=True)
    assert look()["curate"].words == "ended without a result"
    assert slurm.calls("sacct") == []


def test_accounts_that_do_not_answer_are_a_note(tmp_path: Path, sent: FakeSlurm) -> None:
    fail(sent, "1", "FAILED")
    sent.answer("sacct", stderr="sacct: error: Problem talking to the database", code=1)
    run = whole(tmp_path)
    assert run.notes == ["sacct does not answer: no GPU-hours, no efficiency"]
    assert run.state == "failed"


def test_what_was_never_sent_is_said_to_be(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], look: Look
) -> None:
    slurm.refuse("curriculum", "Invalid qos specification")
    with pytest.raises(RuntimeError):
        send_plan(steps, tmp_path)
    found = look()
    assert states(found) == {"curate": "waiting", "score": "waiting", "curriculum": "not sent"}
    assert found["curriculum"].jobs == []
