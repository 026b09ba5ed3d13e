"""What --dry-run shows: what is decided, the scripts, and what Slurm says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm.fake_slurm import FakeSlurm, stage_of
from slurm.plans import finish, group, send_plan, small_plan, training_plan

from wmss_cli.core.errors import ConfigError
from wmss_cli.slurm.dry_run import Preview, missing_inputs, preview
from wmss_cli.slurm.profile import Profile, Resources
from wmss_cli.slurm.send import submit
from wmss_cli.stages.plan import Step

ALL = ["curate", "score.0-2", "score.merge", "curriculum"]


def look(
    steps: list[Step], folder: Path, profile: Profile | None = None, **options: bool
) -> list[Preview]:
    return list(preview(folder / "run", [group(steps, profile)], **options))


def stage(shown: Preview) -> str:
    return stage_of(shown.decision.link.name)


def test_a_preview_shows_what_would_be_sent(tmp_path: Path, slurm: FakeSlurm) -> None:
    steps = small_plan(tmp_path)
    finish(steps[0].job)
    slurm.refuse("curriculum", "Invalid qos specification")
    shown = look(steps, tmp_path)
    assert [stage(one) for one in shown] == ALL[1:]
    assert [one.refused for one in shown] == [False, False, True]
    assert shown[0].verdict is not None
    assert shown[0].verdict.startswith("would start at ")
    scripts = [one.script or "" for one in shown]
    assert "--dependency" not in scripts[0]
    assert f"--dependency=afterok:{shown[0].decision.link.name.upper()}\n" in scripts[1]
    assert slurm.jobs() == []
    assert not (tmp_path / "run" / "slurm").exists()


def test_a_preview_needs_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = look(small_plan(tmp_path), tmp_path)
    assert [(stage(one), one.verdict) for one in shown] == [(name, None) for name in ALL]
    # What needs no Slurm to be seen is refused all the same.
    many = Profile(train=Resources(tasks_per_node=999))
    with pytest.raises(ConfigError, match=r"sft: .*999"):
        look(training_plan(tmp_path), tmp_path, many)


@pytest.mark.usefixtures("slurm")
def test_what_depends_on_a_missing_input_is_provisional(tmp_path: Path) -> None:
    steps = small_plan(tmp_path)
    (tmp_path / "data.jsonl").unlink()
    shown = look(steps, tmp_path)
    assert [(stage(one), one.provisional) for one in shown] == [(name, True) for name in ALL]
    assert missing_inputs(steps) == {
        "curate": [str(tmp_path / "data.jsonl")],
        "score": [],
        "curriculum": [],
    }


@pytest.mark.parametrize("name", ["50%j", "a\\b", "a\nb"])
@pytest.mark.parametrize("has_slurm", [True, False])
def test_a_dry_run_refuses_the_folders_that_a_submission_refuses(
    tmp_path: Path,
    slurm: FakeSlurm,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    has_slurm: bool,
) -> None:
    groups = [group(small_plan(tmp_path))]
    with pytest.raises(ConfigError) as submitted:
        submit(tmp_path / name, groups)
    if not has_slurm:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError) as tried:
        list(preview(tmp_path / name, groups))
    assert str(tried.value) == str(submitted.value)
    assert slurm.jobs() == []


def test_a_dry_run_refuses_what_no_node_has_and_what_is_in_the_queue(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    steps = small_plan(tmp_path)
    with pytest.raises(ConfigError, match="profile cpu: cpu jobs: "):
        look(steps, tmp_path, Profile(cpu=Resources(cpus_per_task=9_999)))
    send_plan(steps, tmp_path)
    with pytest.raises(ConfigError, match=r"--force: .* is still in the queue"):
        look(steps, tmp_path, force=True)
    with pytest.raises(ConfigError, match="jobs of another configuration are in the queue"):
        look(steps[:1], tmp_path)
    look(steps[:1], tmp_path, adds=True)
    assert len(slurm.jobs()) == 4


def test_jobs_in_the_queue_are_shown_as_such(tmp_path: Path, slurm: FakeSlurm) -> None:
    steps = small_plan(tmp_path)
    send_plan(steps, tmp_path)
    before = (tmp_path / "run" / "slurm" / "ledger.jsonl").read_bytes()
    shown = look(steps, tmp_path)
    assert [(stage(one), one.decision.state, one.script) for one in shown] == [
        (name, "queued", None) for name in ALL
    ]
    # One shard has failed: it and what needs it would be sent, after what is in the queue.
    finish(steps[0].job)
    slurm.move("1", "COMPLETED")
    slurm.move("2_1", "FAILED")
    shown = look(steps, tmp_path)
    assert [(stage(one), one.decision.state) for one in shown] == [(n, "sent") for n in ALL[1:]]
    assert list(shown[0].decision.now) == [1]
    assert shown[0].decision.kept == ("2_0", "2_2")
    name = shown[0].decision.link.name.upper()
    assert f"--dependency=afterok:2_0:2_2:{name}\n" in (shown[1].script or "")
    assert (tmp_path / "run" / "slurm" / "ledger.jsonl").read_bytes() == before
    assert len(slurm.jobs()) == 4


@pytest.mark.usefixtures("slurm")
def test_a_limit_on_submitted_jobs_is_shown(tmp_path: Path) -> None:
    shown = look(small_plan(tmp_path), tmp_path, Profile(max_submitted=2))
    assert [(one.decision.state, len(one.decision.later)) for one in shown] == [
        *(("sent", 0), ("sent", 2), ("later", 1), ("later", 1))
    ]


@pytest.mark.usefixtures("slurm")
def test_force_shows_all_of_it_again(tmp_path: Path) -> None:
    steps = small_plan(tmp_path)
    for step in steps:
        finish(step.job)
    assert look(steps, tmp_path) == []
    shown = look(steps, tmp_path, force=True)
    assert [stage(one) for one in shown] == ALL
    assert list(shown[1].decision.now) == [0, 1, 2]
