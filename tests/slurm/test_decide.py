"""What replaces what, what is sent later, and what a refusal of sbatch leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slurm.fake_slurm import FakeSlurm, stage_of
from slurm.plans import finish, finish_shards, group, send_plan, small_plan, work

from wmss_cli.core.errors import ConfigError, SlurmError
from wmss_cli.slurm.chain import chain
from wmss_cli.slurm.ledger import Ledger
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.send import PartlySentError, send_rest, submit
from wmss_cli.stages.plan import Step

ALL = ["curate", "score.0-2", "score.merge", "curriculum"]
LIMIT = "AssocMaxSubmitJobLimit"


@pytest.fixture
def steps(tmp_path: Path) -> list[Step]:
    return small_plan(tmp_path)


@pytest.fixture
def run(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> Path:
    """Let the plan have been sent: jobs 1 (curate), 2 (shards), 3 (merge), 4 (curriculum)."""
    send_plan(steps, tmp_path)
    assert slurm.names() == ALL
    return tmp_path / "run"


def later(run: Path) -> dict[str, list[int]]:
    return {stage_of(name): parts for name, parts in Ledger(run).later().items()}


# What runs is not cancelled unasked, and what is replaced stays until its successor is sent.


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_a_running_job_is_not_cancelled_because_its_input_is_gone(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], run: Path, state: str
) -> None:
    # The result of curate was deleted by hand.
    slurm.move("1", "COMPLETED")
    slurm.move("2_0", state)
    plan = (run / "slurm" / "plan.json").read_bytes()
    with pytest.raises(ConfigError, match=r"score-\w+\.0-2: job 2_0 runs, and would be canc.*wmss"):
        send_plan(steps, tmp_path, Profile(account="other"))
    assert slurm.calls("scancel") == []
    assert len(slurm.jobs()) == 4
    assert (run / "slurm" / "plan.json").read_bytes() == plan
    assert run.is_dir()


def test_running_shards_are_not_cancelled_for_another_number_of_them(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], run: Path
) -> None:
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2_1", "RUNNING")
    with pytest.raises(ConfigError, match=r"job 2_1 runs"):
        send_plan(small_plan(tmp_path, shards=2), tmp_path)
    assert slurm.calls("scancel") == []
    assert len(slurm.jobs()) == 4
    assert len(Ledger(run).read_plan().links()[1].jobs) == 3


@pytest.mark.parametrize("refused", ["wmss-curate", "wmss-score", ".merge", "wmss-curriculum"])
def test_what_is_replaced_stays_where_sbatch_refuses_its_successor(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], run: Path, refused: str
) -> None:
    slurm.move("1", "PENDING", reason="DependencyNeverSatisfied")
    slurm.refuse(refused, "Invalid qos specification")
    before = (run / "slurm" / "plan.json").read_bytes()
    with pytest.raises(SlurmError, match="Invalid qos"):
        send_plan(steps, tmp_path, Profile(qos="none"))
    # Jobs whose successors were sent are cancelled, the others wait as before.
    names = slurm.names()[4:]
    assert names == ALL[: next(i for i, name in enumerate(ALL) if refused in f"wmss-{name}")]
    cancelled = [call for (call,) in slurm.calls("scancel")]
    assert cancelled == [str(1 + ALL.index(name)) for name in names if name != "curate"]
    unchanged = (run / "slurm" / "plan.json").read_bytes() == before
    assert unchanged == (names == [])


def test_a_first_submission_that_is_refused_leaves_no_plan(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    slurm.refuse("wmss-", "Invalid account")
    with pytest.raises(SlurmError, match="Invalid account") as caught:
        send_plan(steps, tmp_path)
    assert not isinstance(caught.value, PartlySentError)
    assert not Ledger(tmp_path / "run").has_plan()
    assert later(tmp_path / "run") == {}


def test_a_job_replaced_by_a_submission_that_was_killed_is_cancelled_by_the_next(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], run: Path
) -> None:
    twin = slurm.add(slurm.last("curriculum")["script"])
    Ledger(run).append("sent", slurm.last("curriculum")["name"], twin, [0], "order.json")
    send_plan(steps, tmp_path)
    assert slurm.calls("scancel") == [["4"]]
    assert slurm.states(twin) == ["PENDING"]


# A limit on submitted jobs.


def test_a_submit_limit_says_how_far_it_came(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    slurm.refuse(".merge", LIMIT)
    told: list[int] = []
    with pytest.raises(PartlySentError) as caught:
        send_plan(steps, tmp_path, begins=lambda: told.append(len(slurm.jobs())))
    assert str(caught.value).endswith(
        f": {LIMIT}: you may not have that many jobs in the queue at once; 2 of 4 jobs are sent "
        "and stay in the queue; the same command sends more when some have ended; with "
        "max_submitted in the profile, --wait does so"
    )
    assert told == [0], "it is remembered before anything is sent"
    assert later(tmp_path / "run") == {"score.merge": [0], "curriculum": [0]}
    slurm.refuse("", "")
    assert [one.state for one in send_plan(steps, tmp_path)] == [
        *("queued", "queued", "sent", "sent")
    ]
    assert later(tmp_path / "run") == {}


@pytest.mark.parametrize("room", range(1, 8))
def test_no_more_is_submitted_than_is_allowed_and_the_rest_follows(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], room: int
) -> None:
    """Let every job do its work as soon as it can, with every small limit."""
    run, profile = tmp_path / "run", Profile(max_submitted=room)
    shards = iter(range(3))
    for _ in range(12):
        send_plan(steps, tmp_path, profile, rest=Ledger(run).has_plan(), adds=True)
        active = [task for job in slurm.jobs() for task in slurm.states(job["id"])]
        assert active.count("PENDING") <= room
        work(slurm, steps, shards)
    assert all(Path(step.job.out, "manifest.json").is_file() for step in steps)
    # Each piece of work once.
    assert sum(len(job["tasks"]) for job in slurm.jobs()) == 6
    assert later(run) == {}


@pytest.mark.usefixtures("slurm")
def test_jobs_of_other_runs_count(tmp_path: Path, steps: list[Step]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    send_plan(small_plan(other), other)
    sent = send_plan(steps, tmp_path, Profile(max_submitted=8))
    assert [(one.state, len(one.now), len(one.later)) for one in sent] == [
        *(("sent", 1, 0), ("sent", 1, 2), ("later", 0, 1), ("later", 0, 1))
    ]


def test_a_stage_that_is_added_drops_nothing_of_what_is_sent_later(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    few = Profile(max_submitted=1)
    send_plan(steps[:2], tmp_path, few, adds=True)
    by_hand = replace(steps[2], needs=(), waits=(steps[1].job.out,))
    send_plan([by_hand], tmp_path, few, adds=True)
    left = {"score.0-2": [0, 1, 2], "score.merge": [0], "curriculum": [0]}
    assert later(tmp_path / "run") == left
    shards = iter(range(3))
    for _ in range(8):
        work(slurm, steps, shards)
        send_rest(Ledger(tmp_path / "run"))
    assert later(tmp_path / "run") == {}
    assert slurm.names()[-1] == "curriculum"


def test_the_rest_is_not_what_failed(tmp_path: Path, slurm: FakeSlurm, steps: list[Step]) -> None:
    run, profile = tmp_path / "run", Profile(max_submitted=2)
    send_plan(steps, tmp_path, profile)
    assert later(run) == {"score.0-2": [1, 2], "score.merge": [0], "curriculum": [0]}
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2", "FAILED")
    send_plan(steps, tmp_path, profile, adds=True, rest=True)
    # The shards that were never sent, not the one that failed, and so no merge.
    assert slurm.names() == ["curate", "score.0-2", "score.0-2"]
    assert len(slurm.jobs()[2]["tasks"]) == 2
    # It may be a result that is not seen yet, so what needs it is not forgotten.
    assert later(run) == {"score.merge": [0], "curriculum": [0]}
    slurm.move("3", "COMPLETED")
    finish_shards(steps[1], [1, 2])
    # Who asks for it gets it.
    send_plan(steps, tmp_path, profile)
    assert slurm.names()[3:] == ["score.0-2", "score.merge"]


def test_what_waits_for_room_alone_is_counted(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    send_plan(steps, tmp_path, Profile(max_submitted=1))
    ledger = Ledger(tmp_path / "run")
    assert send_rest(ledger) == 5, "curate is in the only place"
    slurm.move("1", "FAILED")
    assert send_rest(ledger) == 0, "what needs it can never start"
    assert set(later(tmp_path / "run")) == {"score.0-2", "score.merge", "curriculum"}


# Jobs in the queue keep what they were sent with.


@pytest.mark.usefixtures("run")
def test_what_changes_only_for_later_jobs_is_said(tmp_path: Path, steps: list[Step]) -> None:
    changed = Profile(account="me", score=Resources(time_limit_min=99), gpu_mem_gb=80)
    said: list[str] = []
    send_plan(steps, tmp_path, changed, say=said.append)
    assert said == [
        "not applied to jobs that are in the queue already: account (curate, score, curriculum), "
        "score.time_limit_min (score); 'wmss cancel' and then 'wmss retry' send them again"
    ]
    # As long as that is so, whatever the plan says by now.
    send_plan(steps, tmp_path, changed, say=said.append)
    assert len(said) == 2
    send_plan(steps, tmp_path, say=said.append)
    assert len(said) == 2


def test_an_option_that_decides_nothing_is_not_applied_either(
    tmp_path: Path, steps: list[Step], run: Path
) -> None:
    job = replace(steps[0].job, config={**steps[0].job.config, "workers": 3})
    said: list[str] = []
    send_plan([replace(steps[0], job=job), *steps[1:]], tmp_path, say=said.append)
    (line,) = said
    assert line.startswith("not applied to jobs that are in the queue already: workers (curate);")
    for order in (run / "slurm").rglob("order-*.json"):
        # Of a version that did not write it down.
        order.write_text(json.dumps({"jobs": [{"config": {}}]}))
    send_plan(steps, tmp_path, Profile(account="me"), say=said.append)
    assert len(said) == 1


def test_jobs_of_another_version_are_named(tmp_path: Path, steps: list[Step], run: Path) -> None:
    for order in (run / "slurm").rglob("order-*.json"):
        order.write_text(json.dumps({"tasks": []}))
    said: list[str] = []
    send_plan(steps, tmp_path, say=said.append)
    assert said == [
        "sent by another version of wmss: job 1, 2, 3, 4 cannot start, or start again, with this "
        "one; 'wmss cancel' and then 'wmss retry' send them again"
    ]


# Steps of several submissions in one folder.


def by_hand(step: Step, *waits: Step, **changes: Any) -> Step:
    """Return a step as it is when it is sent on its own."""
    outs = tuple(other.job.out for other in waits)
    return replace(step, needs=(), waits=outs, label=Path(step.job.out).name, **changes)


def test_steps_of_one_label_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    mine = small_plan(tmp_path)
    job = replace(mine[0].job, out=str(tmp_path / "run" / "curate"))
    same = replace(mine[0], job=job)
    links = chain([group(mine), group([same])])
    assert [link.step.job.out for link in links].count(same.job.out) == 1
    assert len(links) == 5
    (shards,) = (link for link in links if link.name.endswith(".0-2"))
    assert shards.sources == (mine[0].job.out,)


@pytest.mark.usefixtures("slurm")
def test_each_group_has_the_limit_of_its_own_profile(tmp_path: Path, steps: list[Step]) -> None:
    (tmp_path / "other").mkdir()
    other = small_plan(tmp_path / "other")
    few, free = group(steps, Profile(max_submitted=1)), group(other)
    sent = submit(tmp_path / "run", [few, free])
    assert [len(one.now) for one in sent] == [1, 0, 0, 0, 1, 3, 1, 1]


def test_what_was_sent_stays_so_where_its_predecessor_cannot_be_cancelled(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step], run: Path
) -> None:
    slurm.move("1", "COMPLETED")  # And its result was deleted.
    slurm.answer("scancel", stderr="scancel: error: busy", code=1)
    with pytest.raises(PartlySentError, match=r"busy; 2 of 4 jobs are sent"):
        send_plan(steps, tmp_path)
    assert later(run) == {"score.merge": [0], "curriculum": [0]}


def test_a_stage_sent_by_hand_that_runs_is_left_alone(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    send_plan(steps[:1], tmp_path, adds=True)
    send_plan([by_hand(steps[1], steps[0])], tmp_path, adds=True)
    slurm.move("1", "FAILED")
    slurm.move("2_0", "RUNNING")
    plan = Ledger(tmp_path / "run").read_plan()
    sent = submit(tmp_path / "run", plan.groups, adds=True)
    # The shard that runs is kept, the others and the merge are sent again.
    assert [one.job_ids for one in sent] == [("4",), ("2_0", "5"), ("6",)]
    assert slurm.calls("scancel") == []


def test_what_waits_for_what_nobody_makes_is_left_out(
    tmp_path: Path, slurm: FakeSlurm, steps: list[Step]
) -> None:
    (tmp_path / "other").mkdir()
    elsewhere = small_plan(tmp_path / "other")
    send_plan(elsewhere[:1], tmp_path / "other", adds=True)
    last = by_hand(steps[2], elsewhere[0])
    send_plan([*steps[:2]], tmp_path, adds=True)
    send_plan([last], tmp_path, adds=True)
    for job in slurm.jobs():
        slurm.move(job["id"], "FAILED")
    said: list[str] = []
    groups = Ledger(tmp_path / "run").read_plan().groups
    sent = submit(tmp_path / "run", groups, adds=True, say=said.append)
    assert [one.state for one in sent] == ["sent", "sent", "sent", "done"]
    (line,) = said
    assert line.startswith(f"left out: {last.label}: ")
    assert "no job that makes it waits or runs" in line
    # Nothing else is to be done: then it is an error.
    with pytest.raises(ConfigError, match="no job that makes it waits or runs"):
        submit(tmp_path / "run", [group([last])], adds=True)
