"""Each piece of work is sent once, whoever sends it, and however often senders die."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from manifests import edit_manifest
from slurm.fake_slurm import FakeSlurm, stage_of
from slurm.plans import (
    as_sent,
    finish,
    finish_shards,
    group,
    send_plan,
    small_plan,
    training_plan,
)

from wmss_cli.core.artifact import finished, open_draft, partial
from wmss_cli.core.config import TokenizeConfig
from wmss_cli.core.errors import ConfigError, IntegrityError, SlurmError
from wmss_cli.core.manifest import read_manifest
from wmss_cli.slurm.decide import Decision
from wmss_cli.slurm.ledger import Entry, Ledger
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.send import submit
from wmss_cli.stages.plan import Plan, Step, external

ALL = ["curate", "score.0-2", "score.merge", "curriculum"]


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return small_plan(tmp_path)


@pytest.fixture
def send(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> Callable[..., list[str]]:
    """Give a function that submits the plan and returns the stages of what was sent now."""

    def again(profile: Profile | None = None, force: bool = False) -> list[str]:
        before = len(slurm.jobs())
        sent = send_plan(steps, tmp_path, profile, force=force)
        assert [stage for stage, state in states(sent) if state == "sent"] == slurm.names()[before:]
        return slurm.names()[before:]

    return again


@pytest.fixture
def before(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> None:
    """Let the plan have been sent before: jobs 1 (curate), 2 (shards), 3 (merge), 4."""
    as_sent(slurm, steps, tmp_path / "run")


def states(sent: list[Decision]) -> list[tuple[str, str]]:
    return [(stage_of(decision.link.name), decision.state) for decision in sent]


def dependency(slurm: FakeSlurm, stage: str) -> str | None:
    found: str | None = slurm.last(stage)["options"].get("dependency")
    return found


def order_of(job: dict[str, str]) -> list[int | None]:
    """Return the shards that the tasks of a job would do, by their pickles."""
    folder = Path(job["script"].split("submitit.core._submit ")[1].strip())
    found = []
    count = len(job["tasks"])
    for index in range(count):
        name = job["id"] if count == 1 else f"{job['id']}_{index}"
        with (folder / f"{name}_submitted.pkl").open("rb") as file:
            order = json.loads(Path(pickle.load(file).function.order).read_text())
        assert len(order["jobs"]) == count
        found.append(order["jobs"][index]["config"].get("shard"))
    return found


# One chain.


def test_a_plan_becomes_one_chain(slurm: FakeSlurm, send: Callable[..., list[str]]) -> None:
    assert send() == ALL
    assert [dependency(slurm, stage) for stage in ALL] == [
        *(None, "afterok:1", "afterok:2:1", "afterok:3")
    ]
    assert slurm.last("score.0-2")["options"]["array"] == "0-2%3"
    # The limits, the queue, and each job: no call more.
    commands = ("scontrol", "sinfo", "squeue", "sacct", "scancel", "sbatch")
    assert [len(slurm.calls(command)) for command in commands] == [1, 1, 1, 0, 0, 4]


def test_what_was_sent_is_written_down(
    tmp_path: Path, slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    send()
    ledger = Ledger(tmp_path / "run")
    events = [(entry.event, stage_of(entry.name), entry.job_id) for entry in ledger.entries()]
    assert events == [
        event
        for job in slurm.jobs()
        for event in (
            ("intent", stage_of(job["name"]), None),
            ("sent", stage_of(job["name"]), job["id"]),
        )
    ]
    folders = [path for path in (tmp_path / "run").rglob("*") if path.is_dir()]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}
    assert [order_of(job) for job in slurm.jobs()] == [[None], [0, 1, 2], [None], [None]]


def test_other_tests_build_upon_what_a_submission_leaves(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    profile = Profile(score=Resources(gpus_per_node=1))
    left = []
    for is_real in (True, False):
        before = len(slurm.jobs())
        if is_real:
            send_plan(steps, tmp_path, profile)
        else:
            as_sent(slurm, steps, tmp_path / "run", profile)
        ledger = Ledger(tmp_path / "run")
        entries = [(e.event, e.name, e.parts) for e in ledger.entries()[-8:]]
        jobs = [(job["name"], job["tasks"]) for job in slurm.jobs()[before:]]
        left.append((ledger.read_plan(), entries, jobs))
        for job in slurm.jobs():
            slurm.move(job["id"], "CANCELLED")
    assert left[0] == left[1]


def test_arrays_are_cut_to_what_the_cluster_allows(
    slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.configure(MaxArraySize="2")
    assert send(Profile(array_limit=1)) == ["curate", "score.0-1", "score.2-2", *ALL[2:]]
    assert slurm.last("score.0-1")["options"]["array"] == "0-1%1"
    assert "array" not in slurm.last("score.2-2")["options"]
    assert dependency(slurm, "score.merge") == "afterok:2:3:1"
    assert order_of(slurm.last("score.2-2")) == [2]


@pytest.mark.usefixtures("before")
def test_a_second_submit_sends_nothing(slurm: FakeSlurm, send: Callable[..., list[str]]) -> None:
    assert send() == []
    slurm.move("1", "RUNNING")
    assert send() == []
    assert slurm.calls("scancel") == []


@pytest.mark.usefixtures("before")
def test_what_waited_before_is_shown_as_queued(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    sent = send_plan(steps, tmp_path)
    assert states(sent) == [
        ("curate", "done"),
        *[(stage, "queued") for stage in ALL[1:]],
    ]
    assert not any(decision.now for decision in sent)
    assert len(slurm.jobs()) == 4


def test_relative_paths_become_absolute(
    tmp_path: Path, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    steps = small_plan(Path())
    assert not Path(steps[0].job.out).is_absolute()
    send_plan(steps, tmp_path)
    plan = Ledger(tmp_path / "run").read_plan().steps()
    paths = [path for step in plan for path in (step.job.out, *step.job.inputs.values())]
    assert all(path.startswith(f"{tmp_path}/") for path in paths)
    assert plan[1].job.inputs["tokens"] == plan[0].job.out
    monkeypatch.chdir("/")
    assert states(send_plan(plan, tmp_path))[0] == ("curate", "queued")
    assert len(slurm.jobs()) == 4


# What is done, what failed.


def test_what_is_done_is_left_out(
    slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    assert send() == ALL[1:]
    assert dependency(slurm, "score.0-2") is None
    assert dependency(slurm, "score.merge") == "afterok:1"


def test_all_done_is_nothing_to_send(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    for step in steps:
        finish(step.job)
    assert send() == []
    assert {state for _, state in states(send_plan(steps, tmp_path))} == {"done"}
    assert slurm.calls("sbatch") == []


def test_what_depends_on_something_new_is_made_again(
    steps: list[Step], send: Callable[..., list[str]]
) -> None:
    for step in steps[:2]:
        finish(step.job)
    finish(steps[0].job)
    # The same work with another content: as after --force.
    (Path(steps[0].job.out) / "result.txt").write_text("changed")
    edit_manifest(Path(steps[0].job.out), lambda made: made.update(digest="0" * 64))
    assert send() == ALL[1:]


@pytest.mark.usefixtures("before")
def test_only_the_tasks_that_failed_are_sent_again(
    slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    finish_shards(steps[1], [0])
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", "COMPLETED")
    slurm.move("2_1", "FAILED")
    slurm.move("2_2", "RUNNING")
    # The merge waits for the array as a whole, which has not ended.
    assert slurm.states("3") == ["PENDING"]
    assert send() == ["score.0-2", "score.merge", "curriculum"]
    assert order_of(slurm.last("score.0-2")) == [1]
    assert "array" not in slurm.last("score.0-2")["options"]
    # What waited for the dead is cancelled, what runs is left alone.
    assert slurm.calls("scancel") == [["3"], ["4"]]
    assert slurm.states("2") == ["COMPLETED", "FAILED", "RUNNING"]
    assert dependency(slurm, "score.merge") == "afterok:2_2:5"
    assert dependency(slurm, "curriculum") == "afterok:6"


@pytest.mark.usefixtures("before")
def test_what_slurm_cancelled_for_another_is_sent_again(
    slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.move("1", "FAILED")
    assert [slurm.states(job_id) for job_id in ("2", "3", "4")] == [
        ["CANCELLED"] * 3,
        ["CANCELLED"],
        ["CANCELLED"],
    ]
    assert send() == ALL
    assert slurm.calls("scancel") == []
    assert send() == []


@pytest.mark.usefixtures("before")
def test_what_can_never_start_is_sent_again(
    slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.move("1", "FAILED")
    for job_id in ("2", "3", "4"):
        # For a moment, until Slurm has cancelled them.
        slurm.move(job_id, "PENDING", reason="DependencyNeverSatisfied")
    assert send() == ALL
    assert dependency(slurm, "score.merge") == "afterok:6:5"


@pytest.mark.usefixtures("before")
def test_no_job_waits_for_one_that_slurm_has_forgotten(
    slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.move("1", "FAILED", forgotten=True)
    slurm.move("2", "CANCELLED", forgotten=True)
    slurm.move("3", "CANCELLED", forgotten=True)
    slurm.move("4", "CANCELLED", forgotten=True)
    assert send() == ALL
    assert dependency(slurm, "score.0-2") == "afterok:5"


def test_shards_that_are_done_are_left_to_the_merge(
    slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    finish_shards(steps[1], [0, 1, 2])
    assert send() == ["score.merge", "curriculum"]
    assert dependency(slurm, "score.merge") is None


def test_a_retried_array_is_retried_again(
    slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    send()
    finish_shards(steps[1], [1])
    slurm.move("1", "FAILED")
    send()
    assert order_of(slurm.last("score.0-2")) == [0, 2]
    finish_shards(steps[1], [0])
    slurm.move("4_0", "COMPLETED")
    slurm.move("4_1", "FAILED")
    send()
    assert order_of(slurm.last("score.0-2")) == [2]


# Senders that die, or are refused.


def sender(folder: Path) -> BaseProcess:
    """Submit the same plan in a process of its own."""
    what = (small_plan(folder), folder)
    process = multiprocessing.get_context("fork").Process(target=send_plan, args=what)
    process.start()
    return process


def end_of(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def test_what_is_sent_later_does_not_hide_a_job_without_an_answer(
    tmp_path: Path, slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.kill_sender("after")
    assert end_of(sender(tmp_path)) == -signal.SIGKILL
    ledger = Ledger(tmp_path / "run")
    (name,) = ledger.open_intents()
    ledger.append("later", name, None, [0])
    assert list(ledger.open_intents()) == [name]
    assert send() == ALL[1:]
    assert order_of(slurm.last(ALL[0])) == [None]


def test_who_dies_before_sbatch_has_sent_nothing(
    tmp_path: Path, slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    slurm.kill_sender("before")
    assert end_of(sender(tmp_path)) == -signal.SIGKILL
    ledger = Ledger(tmp_path / "run")
    assert [stage_of(name) for name in ledger.open_intents()] == ["curate"]
    assert slurm.jobs() == []
    assert send() == ALL
    assert ledger.open_intents() == {}
    assert order_of(slurm.last("curate")) == [None]


@pytest.mark.parametrize("place", [0, 1])
def test_who_dies_after_sbatch_is_followed_by_one_who_adopts_the_job(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], place: int, send: Callable[..., list[str]]
) -> None:
    if place:
        # The array is the first that is sent.
        finish(steps[0].job)
    slurm.kill_sender("after")
    assert end_of(sender(tmp_path)) == -signal.SIGKILL
    assert slurm.names() == [ALL[place]]
    # It would die without its pickles.
    with pytest.raises(FileNotFoundError):
        order_of(slurm.last(ALL[place]))
    assert send() == ALL[place + 1 :]
    assert order_of(slurm.last(ALL[place])) == [[None], [0, 1, 2]][place]
    assert dependency(slurm, ALL[place + 1]) == "afterok:1"
    events = [entry.event for entry in Ledger(tmp_path / "run").entries()]
    assert events[:2] == ["intent", "adopted"]
    assert send() == []


def test_an_adopted_job_gets_its_own_pickles(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    # Pickles of senders that never came to sbatch lie about.
    for _ in range(3):
        slurm.kill_sender("before")
        assert end_of(sender(tmp_path)) == -signal.SIGKILL
    finish_shards(steps[1], [0])
    slurm.kill_sender("after")
    assert end_of(sender(tmp_path)) == -signal.SIGKILL
    assert send() == ["score.merge", "curriculum"]
    assert order_of(slurm.last("score.0-2")) == [1, 2]


def test_two_senders_at_once_make_one_chain(tmp_path: Path, slurm: FakeSlurm) -> None:
    small_plan(tmp_path)
    senders = [sender(tmp_path) for _ in range(2)]
    assert [end_of(process) for process in senders] == [0, 0]
    assert slurm.names() == ALL


def test_where_slurm_refuses_a_job_those_before_it_stay(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    slurm.refuse("wmss-score", "Invalid account or account/partition combination specified")
    with pytest.raises(SlurmError) as caught:
        send_plan(steps, tmp_path)
    assert str(caught.value).startswith("sbatch: wmss-score-")
    assert str(caught.value).endswith(
        ".0-2: Invalid account or account/partition combination specified; 1 of 4 jobs are sent "
        "and stay in the queue; the same command sends the rest once this is fixed"
    )
    assert caught.value.exit_code == 4
    assert slurm.names() == ["curate"]
    slurm.refuse("", "")
    assert send() == ALL[1:]
    assert dependency(slurm, "score.0-2") == "afterok:1"
    assert order_of(slurm.last("score.0-2")) == [0, 1, 2]


def test_where_the_queue_is_not_known_nothing_is_sent(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    slurm.answer("squeue", stderr="slurm_load_jobs error: Unable to contact controller", code=1)
    with pytest.raises(SlurmError, match="squeue: slurm_load_jobs error: Unable to contact"):
        send_plan(steps, tmp_path)
    assert slurm.calls("sbatch") == []
    assert not Ledger(tmp_path / "run").has_plan()


# What can never start.


@pytest.mark.parametrize(
    ("profile", "line"),
    [
        (
            Profile(partition="nowhere"),
            "cpu jobs: there is no partition nowhere; set partition to one of all",
        ),
        (
            Profile(score=Resources(gpus_per_node=9)),
            "score jobs: 9 GPUs per node requested, all has 8; set score.gpus_per_node",
        ),
    ],
)
def test_what_no_node_can_do_is_refused_before_anything_is_sent(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], profile: Profile, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        send_plan(steps, tmp_path, profile)
    assert str(caught.value).startswith(f"profile cpu: {line}")
    assert slurm.calls("sbatch") == []
    assert not (tmp_path / "run" / "slurm").exists()


def test_more_processes_than_samples_are_refused_before_anything_is_sent(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    profile = Profile(train=Resources(tasks_per_node=33))
    with pytest.raises(
        ConfigError,
        match="sft: global_batch_size 32 is less than the 33 processes",
    ):
        send_plan(training_plan(tmp_path), tmp_path, profile)
    assert slurm.calls("sbatch") == []


def test_a_model_that_cannot_work_is_refused_before_anything_is_sent(
    tmp_path: Path, slurm: FakeSlurm, tiny_model: Path
) -> None:
    # Also by 'wmss retry', which plans nothing.
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    data = tmp_path / "examples"
    data.mkdir()
    plan = Plan(tmp_path / "run")
    inputs = {"examples": external(data), "model": external(model)}
    plan.add("tokenize", "tokenize", TokenizeConfig(), inputs)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match=r"model\.safetensors: cut or damaged"):
        send_plan(plan.steps, tmp_path)
    assert slurm.calls("sbatch") == []
    assert not (tmp_path / "run" / "slurm").exists()


@pytest.mark.parametrize("name", ["50%j", "back\\slash", "line\nbreak"])
def test_a_folder_that_sbatch_would_read_as_a_pattern_is_refused(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], name: str
) -> None:
    with pytest.raises(ConfigError, match="choose another run_dir"):
        submit(tmp_path / name, [group(steps)])
    assert slurm.calls("sbatch") == []
    assert not (tmp_path / name).exists()


@pytest.mark.usefixtures("before")
def test_other_shards_of_the_same_stage_replace_those_that_wait(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    said: list[str] = []
    sent = send_plan(small_plan(tmp_path, shards=2), tmp_path, say=said.append)
    assert states(sent) == [
        ("curate", "queued"),
        ("score.0-1", "sent"),
        ("score.merge", "sent"),
        ("curriculum", "sent"),
    ]
    # Each once its successor exists.
    assert slurm.calls("scancel") == [["3"], ["4"], ["2"]]
    assert said == ["job 2 is cancelled: its stage is split differently now"]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_stage_in_one_job_is_not_done_beside_the_same_stage_in_shards(
    tmp_path: Path, slurm: FakeSlurm, state: str
) -> None:
    whole = small_plan(tmp_path, shards=1)
    as_sent(slurm, whole, tmp_path / "run")
    finish(whole[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2", state)
    if state == "PENDING":
        send_plan(small_plan(tmp_path, shards=2), tmp_path)
        assert slurm.states("2") == ["CANCELLED"]
        assert slurm.names()[3:] == ["score.0-1", "score.merge", "curriculum"]
    else:
        with pytest.raises(ConfigError, match="job 2 runs, and would be cancelled"):
            send_plan(small_plan(tmp_path, shards=2), tmp_path)
        assert len(slurm.jobs()) == 3


@pytest.mark.usefixtures("before")
def test_a_job_that_the_ledger_does_not_know_is_not_sent_twice(
    tmp_path: Path, slurm: FakeSlurm, send: Callable[..., list[str]]
) -> None:
    (tmp_path / "run" / "slurm" / "ledger.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"job 1 is in the queue, but .* scancel 1, and submit"):
        send()
    assert len(slurm.jobs()) == 4
    for job_id in ("1", "2", "3", "4"):
        slurm.move(job_id, "CANCELLED")
    assert send() == ALL


# --force, and stages beside others.


@pytest.mark.usefixtures("before")
def test_force_is_refused_while_jobs_wait_or_run(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    finish(steps[0].job)
    plan = Ledger(tmp_path / "run").read_plan()
    with pytest.raises(ConfigError, match=r"--force: wmss-\S+ is still in the queue; 'wmss"):
        send_plan(steps, tmp_path, Profile(account="other"), force=True)
    assert Path(steps[0].job.out).is_dir()
    assert Ledger(tmp_path / "run").read_plan() == plan, "what runs is told as it was sent"
    for job_id in ("1", "2", "3", "4"):
        slurm.move(job_id, "CANCELLED")
    partial(Path(steps[1].job.out)).mkdir()
    before = content(tmp_path / "run")
    assert send(force=True) == ALL
    # What is there stays until the jobs have made it again.
    assert content(tmp_path / "run") == before
    assert send() == []


def content(folder: Path) -> dict[str, bytes | None]:
    """Return all that lies in the artifacts of a run, drafts and shards too, and no marks."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.suffix not in (".lock", ".redo") and "slurm" not in path.parts
    }


def all_finished(steps: list[Step]) -> None:
    """Put all results in place, and work that was begun: a draft, and a shard left behind."""
    for step in steps:
        finish(step.job)
    finish_shards(steps[1], [0])
    partial(Path(steps[2].job.out)).mkdir()


def is_done(steps: list[Step]) -> list[bool]:
    return [finished(step.job) is not None for step in steps]


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("forced", ["the same", "other shards", "another configuration"])
def test_a_refused_force_leaves_every_result(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], forced: str
) -> None:
    all_finished(steps)
    before = content(tmp_path / "run")
    # The first job runs, and reads and writes what exists.
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", "RUNNING")
    others = {
        "the same": steps,
        "other shards": small_plan(tmp_path, shards=2),
        "another configuration": [steps[0], *training_plan(tmp_path)[1:]],
    }
    message = r"jobs of another configuration are in|is still in the queue"
    with pytest.raises(ConfigError, match=message) as caught:
        send_plan(others[forced], tmp_path, force=True)
    assert caught.value.exit_code == 3
    assert content(tmp_path / "run") == before
    assert is_done(steps) == [True, True, True]
    assert slurm.calls("scancel") == []


def test_a_profile_that_does_not_fit_leaves_every_result(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    all_finished(steps)
    before = content(tmp_path / "run")
    with pytest.raises(ConfigError, match="no partition nowhere"):
        send_plan(steps, tmp_path, Profile(partition="nowhere"), force=True)
    assert content(tmp_path / "run") == before
    assert is_done(steps) == [True, True, True]
    assert slurm.calls("sbatch") == []


def test_force_is_refused_while_another_process_writes_one_of_the_results(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    all_finished(steps)
    with open_draft(steps[2].job):
        before = content(tmp_path / "run")
        with pytest.raises(ConfigError, match="another process is writing it"):
            send_plan(steps, tmp_path, force=True)
        assert content(tmp_path / "run") == before
    assert is_done(steps) == [True, True, True]
    assert slurm.calls("sbatch") == []


def test_a_force_of_which_sbatch_takes_no_job_changes_nothing(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    all_finished(steps)
    before = content(tmp_path / "run")
    slurm.refuse("wmss-", "Invalid account or account/partition combination specified")
    with pytest.raises(SlurmError, match="Invalid account"):
        send_plan(steps, tmp_path, force=True)
    assert content(tmp_path / "run") == before
    assert is_done(steps) == [True, True, True]
    slurm.refuse("", "")
    assert send() == []


def test_where_sbatch_refuses_a_later_job_the_rest_of_what_was_forced_is_sent_by_the_next(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    all_finished(steps)
    before = content(tmp_path / "run")
    slurm.refuse(".merge", "Job violates accounting/QOS policy")
    said: list[str] = []
    with pytest.raises(SlurmError, match="QOS"):
        send_plan(steps, tmp_path, force=True, say=said.append)
    assert said[-1] == "the next 'wmss run' without --force sends the rest of what it marked"
    assert slurm.names() == ["curate", "score.0-2"]
    assert content(tmp_path / "run") == before
    slurm.refuse("", "")
    assert send() == ["score.merge", "curriculum"]
    assert dependency(slurm, "curriculum") == "afterok:3"
    # All three shards, that which was done before --force too.
    assert order_of(slurm.last("score.0-2")) == [0, 1, 2]


def test_who_dies_while_forcing_leaves_all_of_it_to_the_next(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    all_finished(steps)
    before = content(tmp_path / "run")
    slurm.kill_sender("before")
    process = multiprocessing.get_context("fork").Process(
        target=send_plan, args=(steps, tmp_path), kwargs={"force": True}
    )
    process.start()
    assert end_of(process) == -signal.SIGKILL
    assert content(tmp_path / "run") == before
    assert send() == ALL


def test_what_was_forced_is_made_again_by_its_jobs_and_read_by_those_that_wait(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], send: Callable[..., list[str]]
) -> None:
    all_finished(steps)
    assert send(force=True) == ALL
    assert is_done(steps) == [False, False, False]
    # Another content of the same work, as after kernels that are not deterministic.
    with open_draft(steps[0].job) as draft:
        (draft.folder / "result.txt").write_text("anew")
        new = draft.commit({})
    slurm.move("1", "COMPLETED")
    finish_shards(steps[1], [0, 1, 2])
    slurm.move("2", "COMPLETED")
    slurm.move("3", "FAILED")
    assert send() == ["score.merge", "curriculum"]
    for step in steps[1:]:
        finish(step.job)
    assert is_done(steps) == [True, True, True]
    assert read_manifest(Path(steps[1].job.out)).inputs["tokens"].digest == new.digest
    assert list((tmp_path / "run").rglob(".*.redo")) == []


def test_stages_that_are_sent_one_by_one_stand_side_by_side(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    send_plan(steps[:1], tmp_path, adds=True)
    finish(steps[0].job)
    send_plan(steps[1:], tmp_path, adds=True)
    send_plan(steps[:1], tmp_path, adds=True)
    labels = [step.label for step in Ledger(tmp_path / "run").read_plan().steps()]
    assert sorted(labels) == ["curate", "curriculum", "score"]
    assert slurm.names() == ALL
    # As a plan of its own it would leave the others in the queue, where no command shows them.
    with pytest.raises(ConfigError, match=r"3 jobs of another configuration are in the queue"):
        send_plan(steps[:1], tmp_path)
    for job_id in ("2", "3", "4"):
        slurm.move(job_id, "CANCELLED")
    send_plan(steps[:1], tmp_path)
    assert [step.label for step in Ledger(tmp_path / "run").read_plan().steps()] == ["curate"]


# Successors of a training job.


def test_training_without_scontrol_is_sent_with_its_successors(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    profile = Profile(requeue="chain", chained_jobs=2)
    steps = training_plan(tmp_path)
    send_plan(steps, tmp_path, profile)
    assert slurm.names() == ["curate", "sft.0", "sft.1", "sft", "report"]
    assert [job["options"].get("dependency") for job in slurm.jobs()] == [
        *(None, "afterok:1", "afterok:1,afterany:2", "afterok:1,afterany:3", "afterok:4")
    ]
    send_plan(steps, tmp_path, profile)
    assert len(slurm.jobs()) == 5
    # The first has ended without a result, the second continues.
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2", "FAILED")
    slurm.move("3", "RUNNING")
    send_plan(steps, tmp_path, profile)
    assert len(slurm.jobs()) == 5
    # All have ended without a result.
    for job_id in ("3", "4"):
        slurm.move(job_id, "FAILED")
    send_plan(steps, tmp_path, profile)
    assert slurm.names()[5:] == ["sft.0", "sft.1", "sft", "report"]
    assert slurm.last("sft.1")["options"]["dependency"] == "afterany:6"
    assert slurm.last("sft")["options"]["dependency"] == "afterany:7"


def test_successors_do_not_repeat_what_still_requeues_itself(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    steps = training_plan(tmp_path)
    as_sent(slurm, steps, tmp_path / "run")
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2", "RUNNING")
    send_plan(steps, tmp_path, Profile(requeue="chain"))
    assert slurm.names() == ["curate", "sft", "report"]


@pytest.mark.usefixtures("slurm")
def test_a_long_ledger_is_read_once_for_all_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    entries = Ledger.entries

    def counted(ledger: Ledger) -> list[Entry]:
        reads.append(ledger.folder)
        return entries(ledger)

    monkeypatch.setattr(Ledger, "entries", counted)
    steps = small_plan(tmp_path)
    sent = send_plan(steps, tmp_path)
    assert len(reads) <= 3 < len(sent)
