"""What --dry-run shows: the scripts, and what Slurm says of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch.fake_slurm import FakeSlurm, stage_of
from launch.plans import finish, small_plan

from wmss_cli.launch.preview import missing_inputs, preview
from wmss_cli.launch.profile import Profile

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
