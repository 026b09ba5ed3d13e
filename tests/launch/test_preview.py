"""What --dry-run shows: the scripts, and what Slurm says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch.fake_slurm import FakeSlurm, stage_of
from launch.plans import finish, small_plan

from wmss_cli.core.errors import ConfigError
from wmss_cli.launch.preview import missing_inputs, preview, refuse
from wmss_cli.launch.profile import Profile, Resources
from wmss_cli.launch.submit import RunSettings, submit

ALL = ["curate", "score.0-2", "score.merge", "curriculum"]


def test_a_preview_shows_what_would_be_sent(tmp_path: Path, slurm: FakeSlurm) -> None:
    steps = small_plan(tmp_path)
    finish(steps[0].job)
    slurm.refuse("curriculum", "Invalid qos specification")
    shown = list(preview(steps, tmp_path / "run", Profile()))
    assert [stage_of(one.name) for one in shown] == ALL[1:]
    assert [one.refused for one in shown] == [False, False, True]
    assert shown[0].verdict is not None
    assert shown[0].verdict.startswith("would start at ")
    assert "--dependency" not in shown[0].script
    assert f"--dependency=afterok:{shown[0].name.upper()}\n" in shown[1].script
    assert slurm.jobs() == []
    assert not (tmp_path / "run" / "slurm").exists()


def test_a_preview_needs_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = list(preview(small_plan(tmp_path), tmp_path / "run", Profile()))
    assert [(stage_of(one.name), one.verdict) for one in shown] == [(name, None) for name in ALL]


@pytest.mark.usefixtures("slurm")
def test_what_depends_on_a_missing_input_is_provisional(tmp_path: Path) -> None:
    steps = small_plan(tmp_path)
    (tmp_path / "data.jsonl").unlink()
    shown = list(preview(steps, tmp_path / "run", Profile()))
    assert [(stage_of(one.name), one.provisional) for one in shown] == [
        (name, True) for name in ALL
    ]
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
    steps = small_plan(tmp_path)
    run = RunSettings(tmp_path / name, Profile(), "cpu")
    with pytest.raises(ConfigError) as submitted:
        submit(steps, run)
    if not has_slurm:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError) as tried:
        refuse(steps, run)
    assert str(tried.value) == str(submitted.value)
    assert slurm.jobs() == []


def test_a_dry_run_refuses_what_no_node_has_and_what_is_in_the_queue(
    tmp_path: Path, slurm: FakeSlurm
) -> None:
    steps = small_plan(tmp_path)
    run = RunSettings(tmp_path / "run", Profile(), "cpu")
    large = RunSettings(tmp_path / "run", Profile(cpu=Resources(cpus_per_task=9_999)), "cpu")
    with pytest.raises(ConfigError, match="profile cpu: cpu jobs: "):
        refuse(steps, large)
    refuse(steps, run)
    submit(steps, run)
    refuse(steps, run)
    with pytest.raises(ConfigError, match=r"--force: .* is still in the queue"):
        refuse(steps, run, force=True)
    with pytest.raises(ConfigError, match="jobs of another configuration are in the queue"):
        refuse(steps[:1], run)
    refuse(steps[:1], run, adds=True)
    assert len(slurm.jobs()) > 0
