"""A plan, and the work that is still what it says when its time comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from wmss_cli.core.config import Config, CurateConfig
from wmss_cli.core.errors import ConfigError
from wmss_cli.core.manifest import fingerprint, reference
from wmss_cli.stages import table
from wmss_cli.stages.plan import Plan, Step, check_as_planned, external
from wmss_cli.stages.shards import shard_job

WITH_OPTIONS = [row for row in table.STAGES if row.section is not None]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n")
    return path


def planned(data: Path, stage: str = "curate") -> Step:
    plan = Plan(data.parent / "run")
    section = getattr(Config(run_dir=str(data.parent)), table.find(stage).section or "")
    plan.add(stage, stage, section, {"data-0000": external(data)})
    return plan.steps[0]


@pytest.mark.parametrize("stage", [row.name for row in WITH_OPTIONS])
def test_what_was_just_planned_is_as_planned(data: Path, stage: str) -> None:
    step = planned(data, stage)
    check_as_planned(step.job, step.fingerprint)


def test_a_shard_that_was_planned_by_itself_is_as_planned(data: Path) -> None:
    piece = shard_job(planned(data).job, 0)
    prints = {"data-0000": reference(data).fingerprint}
    check_as_planned(piece, fingerprint(piece.stage, piece.identity, prints))


def test_an_input_that_has_changed_since_is_named(data: Path) -> None:
    step = planned(data)
    data.write_text('{"more": 1}\n')
    with pytest.raises(ConfigError, match=r"an input \(data-0000\) has changed since"):
        check_as_planned(step.job, step.fingerprint)


def test_rules_that_have_changed_since_are_said(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = planned(data)
    monkeypatch.setattr(CurateConfig, "RULES", 99)
    with pytest.raises(ConfigError, match="another version of wmss planned this"):
        check_as_planned(step.job, step.fingerprint)
